"""Rows of infinite numbers, or of none at all, are counted apart; no row is one line."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from btkd_det.errors import ConfigError
from btkd_det.report import bias_report
from btkd_det.report.class_means import gather
from btkd_det.report.rows import Rows, finite
from btkd_det.report.teacher_bias import BiasCount, Examples, examine

from ..classifiers import build_classifier, image_batch, tiny_resnet
from ..conftest import build_detector, detection_batch
from ..models.test_sites import tiny_cascade

TOOLS = Path(__file__).parents[2] / 'tools'


def run_tool(monkeypatch, name, *arguments):
    path = TOOLS / f'{name}.py'
    monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
    runpy.run_path(str(path), run_name='__main__')


def spoiled(model, head, every=3, value=float('nan')):
    """Let a box head, or the head's layer of a classifier, give every third row without numbers."""

    def hook(module, args, output):
        output = output.clone()
        output[::every] = value
        return output

    head.register_forward_hook(hook)
    return model


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_rows_without_numbers_are_left_out(value):
    logits, boxes = torch.zeros(5, 3), torch.zeros(5, 4)
    logits[1, 2] = boxes[3, 0] = value
    rows = Rows(logits, torch.arange(5), torch.tensor([0, 0, 0, 1, 1]), boxes, [boxes])
    kept = finite(rows)
    assert (kept.labels.tolist(), kept.left_out) == ([0, 2, 4], 2)
    assert kept.images.tolist() == [0, 0, 1]
    assert (len(kept.logits), len(kept.boxes), kept.truths) == (3, 3, rows.truths)
    assert finite(kept) is kept


def test_a_detectors_rows_without_numbers_are_counted_and_named(detector, tmp_path):
    batches = [detection_batch(seed=0), detection_batch(seed=1)]
    torch.manual_seed(0)
    total = examine(detector, batches)[0][0].result()['rows']
    spoiled(detector, detector.roi_head.bbox_head.fc_cls)
    torch.manual_seed(0)
    [(count, examples)] = examine(detector, batches)
    found = count.result()
    assert found['left_out'] > 0
    assert found['rows'] + found['left_out'] == total
    line = f'{found["left_out"]} of {total} rows are left out'
    assert line in bias_report.bias_table(found)
    bias_report.write_report(tmp_path, [found], [examples.best()], {})
    assert line in (tmp_path / 'report.html').read_text()
    json.loads((tmp_path / 'bias.json').read_text(), parse_constant=lambda name: 1 / 0)


def test_a_classifiers_rows_without_numbers_are_counted():
    pytest.importorskip('mmpretrain')
    model = build_classifier(tiny_resnet())
    spoiled(model, model.head.fc)
    [(count, examples)] = examine(model, [image_batch(count=30)])
    assert (count.result()['rows'], count.left_out) == (20, 10)
    assert all(e['confidence'] <= 1 for e in examples.best()['another_class'])
    found = gather(model, [image_batch(count=30)])
    assert (found['class_counts'].sum(), found['left_out']) == (20, 10)
    assert found['class_means'].isfinite().all()


@pytest.mark.parametrize('look', [examine, gather])
def test_a_teacher_without_any_number_is_refused(detector, look):
    detector.roi_head.bbox_head.fc_cls.bias.data.fill_(float('nan'))
    with pytest.raises(ConfigError, match=r'^CKPT: all \d+ rows of logits .* are not finite'):
        look(detector, [detection_batch()])


def test_one_stage_of_a_cascade_without_any_number_is_refused():
    model = build_detector(tiny_cascade())
    model.roi_head.bbox_head[-1].fc_cls.bias.data.fill_(float('nan'))
    with pytest.raises(ConfigError, match=r'^CKPT: all \d+ rows'):
        examine(model, [detection_batch()])


def test_the_largest_finite_logits_leave_a_report_of_numbers():
    count = BiasCount(4, background=True)
    logits = 3e38 * torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    count.update(logits, torch.arange(50) % 4)
    json.dumps(count.result(), allow_nan=False)


def test_a_report_of_no_row_says_that_nothing_was_measured(tmp_path):
    result = BiasCount(4, background=True).result(('cat', 'dog', 'hen'))
    text = bias_report.bias_table(result)
    assert 'judged on no row: nothing was measured' in text
    assert '100 %' not in text
    bias_report.write_report(tmp_path, [result], [Examples(3).best()], {})
    assert 'nothing was measured' in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize('tool', ['bias_report', 'class_means'])
def test_the_commands_end_in_one_line(monkeypatch, folder, detector, tool):
    # All weights are finite: a checkpoint with others is refused before.
    detector.roi_head.bbox_head.shared_fcs[-1].weight.data.mul_(1e30)
    detector.roi_head.bbox_head.fc_cls.weight.data.fill_(1e38)
    torch.save(dict(state_dict=detector.state_dict()), folder / 'diverged.pth')
    out = folder / 'out'
    given = [folder / 'config.py', folder / 'diverged.pth', '--out', out, '--device', 'cpu']
    with pytest.raises(SystemExit, match=r'^error: CKPT: all \d+ rows of logits') as end:
        run_tool(monkeypatch, tool, *given)
    assert '\n' not in str(end.value)
    assert not out.exists()


def test_the_means_name_rows_that_are_left_out(monkeypatch, folder, capsys):
    from btkd_det.report import rows

    load = rows.load
    monkeypatch.setattr(
        rows,
        'load',
        lambda *args, **keys: (
            lambda cfg, model: (cfg, spoiled(model, model.roi_head.bbox_head.fc_cls))
        )(*load(*args, **keys)),
    )
    given = [folder / 'config.py', folder / 'teacher.pth', '--device', 'cpu']
    run_tool(monkeypatch, 'class_means', *given, '--out', folder / 'means.pt')
    assert 'rows are left out: their logits are not finite' in capsys.readouterr().out


def test_means_without_any_row_are_not_written(monkeypatch, folder, detector):
    layer = detector.roi_head.bbox_head.fc_cls
    layer.weight.data.zero_()
    layer.bias.data.copy_(torch.tensor([9.0, 0.0, 0.0, 0.0]))
    torch.save(dict(state_dict=detector.state_dict()), folder / 'cats.pth')
    annotations = json.loads((folder / 'train.json').read_text())
    for entry in annotations['annotations']:
        entry['category_id'] = 1
    (folder / 'train.json').write_text(json.dumps(annotations))
    out = folder / 'means.pt'
    given = [folder / 'config.py', folder / 'cats.pth', '--out', out, '--device', 'cpu']
    with pytest.raises(SystemExit, match=r'^error: --only-right: the teacher is right on none of'):
        run_tool(monkeypatch, 'class_means', *given, '--only-right')
    assert not out.exists()
    run_tool(monkeypatch, 'class_means', *given)
    assert out.exists()


def test_data_that_give_no_row_have_no_means(monkeypatch, detector):
    from btkd_det.report import class_means

    none = Rows(torch.zeros(0, 4), torch.zeros(0).long(), torch.zeros(0).long())
    monkeypatch.setattr(class_means, 'walk', lambda *args: [({}, [none])])
    with pytest.raises(ConfigError, match='CONFIG.train_dataloader: the teacher gave no row'):
        gather(detector, [])
