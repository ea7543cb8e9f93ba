"""What a training starts from, goes on with, or takes a teacher's class names from."""

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from torch import nn

from btkd_det.errors import ConfigError
from btkd_det.preflight import check_weights, map_classes


class Student(nn.Module):
    """A backbone of 200 values, and a head of as many outputs as there are classes."""

    def __init__(self, classes=2, width=10, learned=False):
        super().__init__()
        self.backbone = nn.Linear(width, 20, bias=False)
        self.head = nn.Linear(20, classes)
        if learned:
            self.distill = nn.Linear(2, 2)


def config(**keys):
    return Config(dict(model=dict(type='Student'), work_dir='nowhere', **keys))


def progress(model, **changes):
    """What a training saves."""
    content = dict(
        meta=dict(epoch=1, iter=8),
        state_dict=model.state_dict(),
        message_hub=dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        optimizer=dict(state={}, param_groups=[]),
    )
    content.update(changes)
    return {key: value for key, value in content.items() if value is not None}


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'c.pth')


@pytest.fixture
def log(caplog):
    """What is logged, as text."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: caplog.text
    logger.removeHandler(caplog.handler)


def test_training_starts_from_the_same_architecture(path, log):
    torch.save(Student().state_dict(), path)
    check_weights(config(load_from=path), Student())
    assert not log()


def test_what_starts_anew_is_named(path, log):
    torch.save(Student(classes=80).state_dict(), path)
    check_weights(config(load_from=path), Student())
    assert '2 of 3 weights are not in' in log()
    assert 'head.bias, head.weight' in log()


@pytest.mark.parametrize(
    'state',
    [
        Student(width=11).state_dict(),
        Student(classes=2, width=12).state_dict(),
        # A backbone alone, as torchvision and timm have it.
        {'weight': torch.ones(20, 10)},
        {'model.backbone.weight': torch.ones(20, 10)},
        {'head.bias': torch.ones(2)},
    ],
)
def test_another_architecture_is_refused(path, state):
    state = {key: value for key, value in state.items() if key != 'head.weight'}
    torch.save(state, path)
    with pytest.raises(ConfigError, match=r'load_from: .*is of another architecture.*init_cfg'):
        check_weights(config(load_from=path), Student())


@pytest.mark.parametrize('learned', [False, True])
def test_a_training_goes_on_from_what_it_saved(path, learned):
    torch.save(progress(Student(learned=learned)), path)
    check_weights(config(load_from=path, resume=True), Student(learned=learned))


def test_a_training_without_saved_optimizers_goes_on(path):
    hooks = dict(checkpoint=dict(type='CheckpointHook', save_optimizer=False))
    torch.save(progress(Student(), optimizer=None), path)
    check_weights(config(load_from=path, resume=True, default_hooks=hooks), Student())


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (Student().state_dict(), r'holds weights, but no meta\.epoch, .*message_hub, optimizer'),
        (progress(Student(), optimizer=None), 'holds weights, but no optimizer, .*load_from='),
        (progress(Student(), message_hub=None), 'holds weights, but no message_hub'),
        (progress(Student(), meta=None), r'no meta\.epoch, meta\.iter'),
        (progress(Student(), meta=[1]), r'no meta\.epoch, meta\.iter'),
        (progress(Student(), meta=dict(epoch='1', iter=3)), r'no meta\.epoch,'),
        (progress(Student(width=12)), r'of another model than Student: backbone\.weight is'),
        (progress(Student(classes=80)), 'of another model than Student: head'),
        (progress(nn.Linear(2, 2)), 'of another model than Student'),
        # The plain run's.
        (progress(Student()), r'distill\.weight is missing there'),
        (dict(epoch=1), 'holds no weights'),
    ],
)
def test_what_no_training_goes_on_from_is_refused(path, content, words):
    torch.save(content, path)
    learned = words.startswith('distill')
    with pytest.raises(ConfigError, match=f'--resume: .*{words}'):
        check_weights(config(load_from=path, resume=True), Student(learned=learned))


def test_the_teachers_checkpoint_is_not_resumed_from(path):
    torch.save(progress(Student()), path)
    cfg = config(load_from=path, resume=True)
    cfg.model.teacher = dict(config='t.py', checkpoint=path)
    with pytest.raises(ConfigError, match="--resume: .*is the teacher's checkpoint"):
        check_weights(cfg, Student())


def test_what_is_resumed_from_is_looked_at(path):
    cfg = config(resume=True)
    # Nothing is there: the training begins.
    check_weights(cfg, Student())
    torch.save(Student().state_dict(), path)
    cfg.load_from = path
    with pytest.raises(ConfigError, match='--resume: .*holds weights, but no'):
        check_weights(cfg, Student())
    cfg.load_from = f'{path}.gone'
    with pytest.raises(ConfigError, match='--resume: no file'):
        check_weights(cfg, Student())


def taught(path, names, outputs, **teacher):
    """A config of the classes hen and dog, and a teacher whose checkpoint has names."""
    meta = dict(dataset_meta=dict(classes=names))
    torch.save(dict(meta=meta, state_dict={'w': torch.ones(1)}), path)
    head = dict(roi_head=dict(bbox_head=dict(num_classes=outputs)), rpn_head=dict(num_classes=1))
    dataset = dict(type='CocoDataset', ann_file='a.json', metainfo=dict(classes=('hen', 'dog')))
    kd = dict(roi_logits=dict(type='btkd_det.KDLoss'))
    model = dict(teacher=dict(config=dict(model=head), checkpoint=path, **teacher), distill=kd)
    return Config(dict(model=model, train_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize('outputs', [2, 80])
def test_more_names_than_outputs_are_no_map(path, outputs):
    names = ('dog', 'cat', 'hen')
    with pytest.raises(
        ConfigError, match=rf'model\.teacher\.checkpoint: names 3 .*{outputs} apart'
    ):
        map_classes(taught(path, names, outputs))
    cfg = taught(path, names, outputs, class_map=[1, 0])
    map_classes(cfg)
    assert cfg.model.teacher.class_map == [1, 0]


def test_as_many_names_as_outputs_are_a_map(path):
    cfg = taught(path, ('dog', 'cat', 'hen'), 3)
    map_classes(cfg)
    assert cfg.model.teacher.class_map == [2, 0]


def test_features_alone_need_no_map(path):
    # Where classes are compared, three names for two outputs are refused.
    cfg = taught(path, ('dog', 'cat', 'hen'), 2)
    cfg.model.distill = dict(fpn=dict(type='btkd_det.PKDLoss'))
    map_classes(cfg)
    assert 'class_map' not in cfg.model.teacher
