"""What distillation sees goes wherever MMEngine's visualizer writes."""

import inspect
import json
import math
import re
from pathlib import Path

import pytest
from mmengine.registry import HOOKS, VISBACKENDS

from btkd_det.config.log_options import average_log
from tests.classifiers import save_teacher, tiny_resnet
from tests.watched import CLASSES, train_classifier

LOSS = dict(
    type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss', temperature=2.0), trust='measured'
)
VALUES = {'loss_btkd', 'right', 'easy', 'hard', 'gamma', 'trust', 'teacher_right', 'student_right'}


def scalars(folder):
    """Name to (step, value) of ``scalars.json``."""
    found = {}
    for line in next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines():
        entry = json.loads(line)
        for name, value in entry.items():
            found.setdefault(name, []).append((entry['step'], value))
    return found


def events(folder):
    """The same of TensorBoard's event file."""
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    (file,) = folder.glob('*/vis_data/events.out.tfevents.*')
    read = accumulator.EventAccumulator(str(file))
    read.Reload()
    return {
        name: [(e.step, e.value) for e in read.Scalars(name)] for name in read.Tags()['scalars']
    }


@pytest.mark.parametrize(
    ('backend', 'read'), [('LocalVisBackend', scalars), ('TensorboardVisBackend', events)]
)
def test_every_value_of_the_distillation_arrives(tmp_path, backend, read):
    if backend == 'TensorboardVisBackend':
        pytest.importorskip('tensorboard', reason='tensorboard is not installed')
    save_teacher(tmp_path / 'teacher.pth', tiny_resnet(12, 3), classes=CLASSES)
    teacher = dict(config=tiny_resnet(12, 3), checkpoint=str(tmp_path / 'teacher.pth'))
    visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type=backend)])
    hooks = [dict(type='btkd_det.TeacherEvaluationHook')]
    runner = train_classifier(
        tmp_path / 'run',
        tmp_path / 'data',
        teacher,
        LOSS,
        visualizer=visualizer,
        custom_hooks=hooks,
        change=average_log,
    )

    found = read(Path(runner.work_dir))
    prefix = 'distill.logits.'
    assert {name.removeprefix(prefix) for name in found if name.startswith(prefix)} == VALUES
    for name in VALUES:
        steps, values = zip(*found[prefix + name], strict=True)
        assert steps == (1, 2, 3, 4, 5, 6)
        assert all(map(math.isfinite, values))
    share = [value for _, value in found[prefix + 'right']]
    assert share[0] in (0, 0.25, 0.5, 0.75, 1)
    # The first step's gamma is 0; each value is the mean of the steps so far, at most 10 of them.
    gammas = [1 - math.cos(math.pi / 2 * i / 6) ** 2 for i in range(6)]
    means = [sum(gammas[: i + 1]) / (i + 1) for i in range(6)]
    assert [value for _, value in found[prefix + 'gamma']] == pytest.approx(means, abs=1e-6)
    for name in ('loss', 'loss_cls'):
        assert [step for step, _ in found[name]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in found['accuracy/top1']] == [1, 2]
    ((step, top1),) = found['teacher/accuracy/top1']
    assert step == 0
    assert 0 <= top1 <= 100


def test_the_pages_blocks_name_what_there_is():
    page = (Path(__file__).parents[2] / 'docs' / 'watching.md').read_text()
    hooks, visualizer = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    names = {}
    # With the lines for other services, that are off.
    exec(hooks + re.sub(r'# (dict\(.*?\),)  #.*', r'\1', visualizer), names)
    for cfg in names['custom_hooks']:
        HOOKS.build(cfg)
    backends = [cfg.pop('type') for cfg in names['visualizer']['vis_backends']]
    assert len(backends) == 4
    for name, cfg in zip(backends, names['visualizer']['vis_backends'], strict=True):
        inspect.signature(VISBACKENDS.get(name)).bind(save_dir='', **cfg)
