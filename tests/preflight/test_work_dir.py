"""A folder that holds another model's run is not written over; a rerun of the same one is."""

import runpy
from pathlib import Path

import pytest
from mmengine.config import Config

from btkd_det import preflight
from btkd_det.errors import ConfigError
from btkd_det.preflight.work_dir import check_work_dir, read_dump

from ..conftest import tiny_faster_rcnn

KD = dict(type='btkd_det.KDLoss', temperature=1.0)
BTKD = dict(type='btkd_det.BTKDLoss', loss=KD)
TEACHER = dict(config='t.py', checkpoint='t.pth')


def config(sites=None, width=8, **keys):
    model = tiny_faster_rcnn(width=width)
    if sites is not None:
        model.update(type='btkd_det.DistilledTwoStageDetector', teacher=TEACHER)
        model.distill = sites
    return Config(dict(model=model, **keys))


@pytest.fixture
def plain_run(tmp_path):
    config().dump(tmp_path / 'student.py')
    (tmp_path / 'epoch_1.pth').touch()
    return tmp_path


@pytest.mark.parametrize(
    ('cfg', 'words'),
    [
        (config(dict(roi_logits=KD)), ['student.py, a FasterRCNN,', 'with KDLoss']),
        (config(width=16), ['holds the run of student.py']),
    ],
)
def test_another_models_run_is_not_written_over(plain_run, cfg, words):
    cfg.work_dir = str(plain_run)
    with pytest.raises(ConfigError, match='^--work-dir: ') as caught:
        check_work_dir(cfg)
    for word in words:
        assert word in str(caught.value)
    cfg.work_dir = str(plain_run / 'another')
    check_work_dir(cfg)
    cfg.work_dir = None
    check_work_dir(cfg)


def test_another_preset_is_another_run(tmp_path):
    config(dict(roi_logits=KD)).dump(tmp_path / 'student.py')
    (tmp_path / 'epoch_1.pth').touch()
    with pytest.raises(ConfigError, match='Detector with KDLoss, and this is .* BTKDLoss, KDLoss'):
        check_work_dir(config(dict(roi_logits=BTKD), work_dir=str(tmp_path)))
    # Another temperature, another teacher: MMEngine's own business.
    cfg = config(dict(roi_logits=dict(KD, temperature=4.0)), work_dir=str(tmp_path))
    cfg.model.teacher = dict(config=tiny_faster_rcnn(), checkpoint='other.pth')
    check_work_dir(cfg)


def test_the_same_run_goes_on(plain_run):
    check_work_dir(config(work_dir=str(plain_run), train_cfg=dict(max_epochs=24)))
    (plain_run / 'epoch_1.pth').unlink()
    check_work_dir(config(dict(roi_logits=KD), work_dir=str(plain_run)))


def test_what_is_in_the_folder_is_not_executed(tmp_path):
    for i, text in enumerate(
        (
            f'model = dict(type=open({str(tmp_path / "made")!r}, "w"))',
            'import os\nmodel = dict(type="X")',
            'model = dict(**x)',
            'model = (',
            'lr = 0.1',
        )
    ):
        path = tmp_path / f'{i}.py'
        path.write_text(text)
        assert read_dump(path) is None
    (tmp_path / 'epoch_1.pth').touch()
    check_work_dir(config(work_dir=str(tmp_path)))
    assert not (tmp_path / 'made').exists()


def test_a_dump_is_read_as_it_was(tmp_path):
    cfg = config(dict(fpn=[KD, BTKD]), lr=-0.1, keys={'a.b': (1, 2)}, none=None)
    cfg.dump(tmp_path / 'dump.py')
    lists = lambda node: (
        {k: lists(v) for k, v in node.items()}
        if isinstance(node, dict)
        else [lists(v) for v in node]
        if isinstance(node, (list, tuple))
        else node
    )
    assert read_dump(tmp_path / 'dump.py') == lists(cfg.to_dict())


def test_training_asks_for_it(plain_run, monkeypatch):
    for name in preflight.__all__:
        monkeypatch.setattr(preflight, name, lambda *args, **kwargs: None)
    train = runpy.run_path(str(Path(__file__).parents[2] / 'tools/train.py'), run_name='commands')
    train['check'](config(work_dir=str(plain_run)))
    with pytest.raises(ConfigError, match='^--work-dir: .* holds the run of student.py'):
        train['check'](config(dict(roi_logits=KD), work_dir=str(plain_run)))
