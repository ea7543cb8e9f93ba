"""What the command line says last wins, wherever it stands; what finds no place is an error."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from btkd_det.config.options import merge_options, with_options
from btkd_det.errors import ConfigError

from ..conftest import build_detector, tiny_faster_rcnn

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp('files')
    model = tiny_faster_rcnn()
    student = Config(dict(model=model, default_scope='mmdet', launcher='pytorch'))
    student.dump(tmp_path / 'student.py')
    Config(dict(model=tiny_faster_rcnn(width=12), default_scope='mmdet')).dump(
        tmp_path / 'teacher.py'
    )
    state = build_detector(tiny_faster_rcnn(width=12)).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'teacher.pth')
    return tmp_path


def make_config(folder, monkeypatch, *args, tool='train'):
    """The config that a command makes of its arguments."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, 'argv', [f'{tool}.py', *args])
    found = runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='commands')
    return found['make_config'](found['parse_args']())


FLAGS = ['--teacher-config', 'teacher.py', '--teacher-checkpoint', 'teacher.pth', '--distill']


@pytest.mark.parametrize(
    ('preset', 'option', 'value', 'place'),
    [
        ('kd', 'model.distill.roi_logits.temperature', 4, lambda d: d.roi_logits.temperature),
        ('btkd', 'model.distill.roi_logits.loss.temperature', 3, lambda d: d.roi_logits.loss),
        ('ikd', 'model.distill.roi_logits.1.loss_weight', 2.5, lambda d: d.roi_logits[1]),
        ('btkd-pkd', 'model.distill.fpn.loss_weight', 9, lambda d: d.fpn.loss_weight),
    ],
)
def test_options_win_over_the_preset(files, monkeypatch, preset, option, value, place):
    cfg = make_config(
        files, monkeypatch, 'student.py', *FLAGS, preset, '--cfg-options', f'{option}={value}'
    )
    found = place(cfg.model.distill)
    assert (found[option.rpartition('.')[2]] if isinstance(found, dict) else found) == value
    build_detector(cfg.model)


def test_options_win_over_the_flags_and_reach_the_teacher(files, monkeypatch):
    options = ['model.teacher.dtype=bfloat16', 'model.teacher.checkpoint=teacher.pth']
    flags = ['--teacher-config', 'teacher.py', '--distill', 'kd']
    cfg = make_config(files, monkeypatch, 'student.py', *flags, '--cfg-options', *options)
    assert cfg.model.teacher == dict(
        config='teacher.py', checkpoint='teacher.pth', dtype='bfloat16'
    )
    assert cfg.launcher == 'pytorch'
    assert make_config(files, monkeypatch, 'student.py', '--launcher', 'slurm').launcher == 'slurm'


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['--cfg-options', 'model.distill.roi_logits.temperature=4'], ['plain', '--distill']),
        (['--cfg-options', 'model.teacher.checkpoint=x.pth'], ['plain', '--distill']),
        (
            [*FLAGS, 'ikd', '--cfg-options', 'model.distill.roi_logits.temperature=4'],
            ["model.distill.roi_logits is a list of 2 and has no 'temperature'"],
        ),
        (
            [*FLAGS, 'kd', '--cfg-options', 'model.distil.roi_logits.temperature=4'],
            ["model has no 'distil' (did you mean 'distill'?)"],
        ),
        (
            [*FLAGS, 'kd', '--cfg-options', 'model.teacher=other.py'],
            ['model.teacher=other.py', 'model.teacher.config'],
        ),
        (
            ['--cfg-options', 'model.roi_haed.bbox_head.num_classes=4'],
            ["model has no 'roi_haed' (did you mean 'roi_head'?)"],
        ),
        (['--cfg-options', 'model.type.x=4'], ['--cfg-options: cannot be merged into student.py']),
    ],
)
def test_an_option_without_a_place_is_an_error(files, monkeypatch, args, words):
    with pytest.raises(ConfigError) as caught:
        make_config(files, monkeypatch, 'student.py', *args)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_new_keys_may_be_set(monkeypatch):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=1))))
    merge_options(cfg, {'optim_wrapper.clip_grad.max_norm': 35, 'optim_wrapper.optimizer.a': 1}, '')
    assert cfg.optim_wrapper.clip_grad.max_norm == 35
    assert with_options(dict(a=1), {'b.c': 2}, 'x') == dict(a=1, b=dict(c=2))


@pytest.mark.parametrize('text', ['model.backbone.depth', 'model.x=[1,2', ''])
@pytest.mark.parametrize('tool', ['train', 'test'])
def test_text_that_is_no_option_is_one_line(files, monkeypatch, tool, text):
    place = ['student.py', *(['ckpt.pth'] if tool == 'test' else [])]
    with pytest.raises(SystemExit) as stopped:
        make_config(files, monkeypatch, *place, '--cfg-options', text, tool=tool)
    assert stopped.value.code.startswith(f'error: --cfg-options: {text!r}')
    assert '\n' not in stopped.value.code


@pytest.mark.parametrize(
    ('args', 'folder'),
    [
        (['student.py'], 'work_dirs/student'),
        (['student.py', *FLAGS, 'kd'], 'work_dirs/student_kd'),
        (['student.py', *FLAGS[:-1]], 'work_dirs/student_btkd'),
        (['student.py', *FLAGS, 'kd', '--work-dir', 'mine'], 'mine'),
    ],
)
def test_each_preset_has_a_folder_of_its_own(files, monkeypatch, args, folder):
    assert make_config(files, monkeypatch, *args).work_dir == folder


@pytest.mark.parametrize('resume', [[], ['--resume']])
def test_where_there_is_nothing_to_resume_the_weights_of_the_config_stay(
    files, monkeypatch, capsys, resume
):
    options = ['--work-dir', 'never_trained', '--cfg-options', 'load_from=pretrained.pth']
    cfg = make_config(files, monkeypatch, 'student.py', *resume, *options)
    assert (cfg.load_from, bool(cfg.get('resume'))) == ('pretrained.pth', False)
    told = capsys.readouterr().out
    assert ('It begins from load_from, pretrained.pth' in told) == bool(resume)
