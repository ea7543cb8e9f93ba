"""The notebooks run, in a short form, and what they show was made by a whole run."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
#: What stands in the place of the cell of parameters, and the last lines that a run prints.
SHORT = {
    'own_rule': ('SEEDS, STEPS = 2, 20', 'BTKD, robust'),
    'teachers_mistakes': ('IMAGES, EPOCHS, STUDENT_EPOCHS = 12, 1, 1', 'boxes, the best has'),
}


def test_there_are_those_that_are_tested():
    assert {path.stem for path in NOTEBOOKS} == set(SHORT)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, monkeypatch, tmp_path):
    parameters, said = SHORT[path.stem]
    notebook = nbformat.read(path, as_version=4)
    (cell,) = (c for c in notebook.cells if 'parameters' in c.metadata.get('tags', []))
    assert cell.source.partition('=')[0] == parameters.partition('=')[0]
    cell.source = parameters
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    place = dict(metadata=dict(path=path.parent))
    NotebookClient(notebook, timeout=300, kernel_name='python3', resources=place).execute()
    assert said in _printed(notebook.cells[-2:])


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_its_outputs_are_of_one_whole_run_without_errors(path):
    cells = [c for c in json.loads(path.read_text())['cells'] if c['cell_type'] == 'code']
    assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell['outputs']]
    assert not [output for output in outputs if output['output_type'] == 'error']
    # No warnings of other packages, nothing that is there twice.
    assert not [output for output in outputs if output.get('name') == 'stderr']
    tables = [o for o in outputs if 'text/html' in o.get('data', {})]
    assert not tables, 'a table that shows itself'
    assert any({'image/png', 'image/jpeg'} & set(output.get('data', {})) for output in outputs)


def _printed(cells):
    return ''.join(output.get('text', '') for cell in cells for output in cell.get('outputs', []))
