"""From the command to the end of the first step: tools/train.py beside MMDetection's own."""

import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import mmdet

from btkd_det.preflight.reading import load_config
from experiments.demo.shapes import ShapesSpec, make_shapes

from .measure import environment, show_progress, summary

ROOT = Path(__file__).parents[2]
STUDENT = 'btkd_det::shapes/faster-rcnn_r18w8_fpn_5e_shapes.py'
TEACHER = 'btkd_det::shapes/faster-rcnn_r18w32_fpn_5e_shapes.py'
#: Ends a training after its first step.
HOOK = """
    import os
    from mmengine.hooks import Hook
    from mmengine.registry import HOOKS

    @HOOKS.register_module()
    class EndAfterOneStep(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            open(os.environ['FIRST_STEP'], 'w').close()
            os._exit(0)
    """
#: MMCV may have no compiled operators, and MMDetection does not import then.
THEIRS = (
    'import runpy, sys, btkd_det; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name="__main__")'
)


def add_arguments(parser):
    """The options of the command."""
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--images', type=int, default=200, help='drawn, of the training set')


def run(rounds=5, images=200):
    """Time whole processes that train one step of a small Faster R-CNN on drawn images.

    Args:
        rounds (int): Counted processes of each.
        images (int): Of the training set.

    Returns:
        dict: ``environment``, ``images``, ``seconds`` of each command, and ``start_to_mmdet``, the
        ratio of medians of ours to MMDetection's ``tools/train.py``.
    """
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder), images)
        seconds = {name: [] for name in commands}
        for number in range(-1, rounds):
            show_progress(number + 1, rounds + 1, ', '.join(commands))
            for name, command in commands.items():
                taken = _first_step(command, Path(folder), f'{number}{len(name)}')
                if number >= 0:
                    seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    theirs = medians["MMDetection's"]
    return dict(
        environment=environment(),
        images=images,
        seconds={name: summary(values) for name, values in seconds.items()},
        start_to_mmdet={
            name: round(median / theirs, 3)
            for name, median in medians.items()
            if name != "MMDetection's"
        },
    )


def _commands(folder, images):
    data = folder / 'shapes'
    make_shapes(data, ShapesSpec(train=images, val=8, test=8))
    (folder / 'end_after_one_step.py').write_text(textwrap.dedent(HOOK))
    for name, base in (('student', STUDENT), ('teacher', TEACHER)):
        config = load_config(base, dict(data_root=f'{data}/'))
        config.custom_imports = dict(imports=['btkd_det', 'end_after_one_step'])
        config.custom_hooks = [dict(type='EndAfterOneStep')]
        config.dump(folder / f'{name}.py')
    student = str(folder / 'student.py')
    ours = [sys.executable, str(ROOT / 'tools' / 'train.py'), student]
    taught = ['--teacher-config', str(folder / 'teacher.py')]
    taught += ['--teacher-checkpoint', str(_weights(folder))]
    theirs = Path(mmdet.__file__).parent / '.mim' / 'tools' / 'train.py'
    return {
        "MMDetection's": [sys.executable, '-c', THEIRS, str(theirs), student],
        'plain': ours,
        'distilled': [*ours, *taught],
    }


def _weights(folder):
    """A checkpoint of the teacher, as it was initialized."""
    import torch
    from mmengine.registry import MODELS, DefaultScope

    from btkd_det.config.reading import read_config

    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(read_config(TEACHER, 'config').model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'teacher.pth')
    return folder / 'teacher.pth'


def _first_step(command, folder, name):
    """Seconds from the command to the end of its first step."""
    done = folder / f'first_step_{name}'
    env = {**os.environ, 'FIRST_STEP': str(done), 'PYTHONPATH': f'{ROOT}:{folder}'}
    # MMDetection's reads its own arguments after the file.
    where = ['--work-dir', str(folder / f'work_{name}')]
    start = time.perf_counter()
    ended = subprocess.run([*command, *where], env=env, cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if not done.is_file():
        raise RuntimeError(f'{" ".join(command)} made no step: {ended.stdout}{ended.stderr}')
    return seconds
