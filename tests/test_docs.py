"""The pages say what is so: their configs run, their links lead somewhere, their commands exist."""

import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from btkd_det import hooks, losses
from btkd_det.config import PRESETS
from btkd_det.config.reading import read_config

from .test_configs import batch_for, build_model, find_num_classes, loss_step

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').rglob('*.md'))]
CONFIGS = [
    pytest.param(block, id=f'{page.stem}-{i}')
    for page in PAGES
    for i, block in enumerate(re.findall(r'```python\n(_base_.*?)```', page.read_text(), re.DOTALL))
]


def test_pages_hold_configs():
    assert len(CONFIGS) >= 4


@pytest.mark.parametrize('text', CONFIGS)
def test_a_config_in_a_page_builds_and_runs_a_step(text, tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(text)
    cfg = read_config(str(path), 'page')
    init_default_scope(cfg.default_scope)
    total, log = loss_step(build_model(cfg), batch_for(cfg, find_num_classes(cfg.model)))
    assert torch.isfinite(total)
    assert {key.split('.')[1] for key in log if key.startswith('distill.')} == set(
        cfg.model.distill
    )


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page):
    for link in re.findall(r'\]\(([^)#\s]+)', page.read_text()):
        if not link.startswith('http'):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_commands_name_are_there(page):
    text = page.read_text()
    for command in re.findall(r'```bash\n(.*?)```', text, re.DOTALL):
        for path in re.findall(r'(?<!\S)((?:tools|configs)/[\w./-]+\.py)', command):
            assert (ROOT / path).is_file(), path


def test_the_presets_that_pages_name_are_all_there_is():
    text = (ROOT / 'docs' / 'your_own_detector.md').read_text()
    listed = re.search(r'The presets are (.*?)\.', text, re.DOTALL)[1]
    assert re.findall(r'`([\w-]+)`', listed) == list(PRESETS)


def test_the_demos_table_is_that_of_its_file():
    rows = json.loads((ROOT / 'experiments/results/demo/seed0.json').read_text())['rows']
    text = (ROOT / 'README.md').read_text()
    for row in rows:
        ap, ap50 = (f'{100 * row[name]:.1f}' for name in ('AP', 'AP50'))
        assert f'| {row["title"]} | {ap} | {ap50} | {row["parameters"] / 1e6:.2f} M |' in text


def test_the_reference_has_every_loss_and_hook():
    pages = ''.join(page.read_text() for page in (ROOT / 'docs' / 'reference').glob('*.md'))
    listed = re.findall(r'^::: btkd_det\.(losses|hooks)\.(\w+)$', pages, re.MULTILINE)
    there = {('losses', name) for name in losses.__all__}
    there |= {('hooks', name) for name in dir(hooks) if name.endswith('Hook')}
    assert sorted(listed) == sorted(there)


def test_the_readmes_three_lines(tmp_path, monkeypatch):
    block = re.search(
        r'```python\n(import btkd_det\n.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    base = "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
    for name in ('my_config.py', 'my_teacher.py'):
        Path(name).write_text(base)

    exec(block[1], {})

    cfg = read_config('my_distilled_config.py', 'page')
    assert cfg.model.type == 'btkd_det.DistilledTwoStageDetector'
    assert cfg.model.teacher.checkpoint == 'teacher.pth'
