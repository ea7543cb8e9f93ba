"""Small models and batches that every test of the detectors shares."""

import contextlib
import copy

import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer
from yapf.yapflib import yapf_api

import btkd_det  # noqa: F401
from btkd_det.config.reading import read_config

torch.set_num_threads(1)


@pytest.fixture(scope='session', autouse=True)
def unformatted_configs():
    """MMEngine writes a config several times a run, and to lay out its lines takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', lambda text, **style: (text, False))
        yield


def tiny_faster_rcnn(num_classes=3, width=8, neck=16):
    """Config of a Faster R-CNN with FPN that runs a step in a fraction of a second."""
    model = read_config('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'test').model
    model.backbone.update(
        depth=18, base_channels=width, stem_channels=width, frozen_stages=-1, init_cfg=None
    )
    model.neck.update(in_channels=[width, 2 * width, 4 * width, 8 * width], out_channels=neck)
    model.rpn_head.update(in_channels=neck, feat_channels=neck)
    model.roi_head.bbox_roi_extractor.update(out_channels=neck)
    model.roi_head.bbox_head.update(in_channels=neck, fc_out_channels=32, num_classes=num_classes)
    model.train_cfg.rcnn.sampler.num = 32
    model.train_cfg.rpn_proposal.update(nms_pre=200, max_per_img=100)
    return model


def build_detector(model, seed=0):
    """Build a model config under a seed, its weights initialized."""
    init_default_scope('mmdet')
    torch.manual_seed(seed)
    detector = MODELS.build(copy.deepcopy(model))
    detector.init_weights()
    return detector


def detection_batch(sizes=((96, 128), (80, 64)), num_classes=3, seed=0):
    """Raw input of ``data_preprocessor``: images of different sizes with two boxes each."""
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for i, (height, width) in enumerate(sizes):
        inputs.append(
            torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
        )
        corner = torch.rand(2, 2, generator=generator) * torch.tensor([width, height]) / 2
        extent = torch.tensor([width, height]) / 3
        sample = DetDataSample(
            metainfo=dict(
                img_id=i,
                img_shape=(height, width),
                ori_shape=(height, width),
                scale_factor=(1.0, 1.0),
                img_path=f'{i}.jpg',
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + extent], dim=1),
            labels=torch.randint(0, num_classes, (2,), generator=generator),
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


@contextlib.contextmanager
def same_globals():
    """Within this context MMEngine's globals may be made: scopes, visualizers, hubs, loggers."""
    kinds = (DefaultScope, Visualizer, MessageHub, MMLogger)
    before = [kind._instance_dict.copy() for kind in kinds]
    yield
    for kind, instances in zip(kinds, before, strict=True):
        kind._instance_dict = instances


@pytest.fixture(autouse=True, scope='module')
def _own_globals_of_module():
    """No module builds in the scope that another one's fixtures left behind."""
    with same_globals():
        yield


@pytest.fixture(autouse=True)
def _own_globals():
    """No test builds in the scope that another one left behind, or sees its data set."""
    with same_globals():
        yield


@pytest.fixture
def progress():
    """A message hub that says how far training is: half, unless it is called with a share."""
    hub = MessageHub.get_instance('test-progress')

    def set_progress(share):
        hub.update_info('iter', int(share * 100))
        hub.update_info('max_iters', 100)
        hub.update_info('max_epochs', 10)

    set_progress(0.5)
    return set_progress


@pytest.fixture
def student_config():
    return tiny_faster_rcnn()


@pytest.fixture
def teacher_config():
    return tiny_faster_rcnn(width=12, neck=24)


@pytest.fixture
def teacher_checkpoint(teacher_config, tmp_path):
    """A checkpoint of the small teacher as MMEngine saves one."""
    path = tmp_path / 'teacher.pth'
    model = build_detector(teacher_config, seed=7)
    meta = dict(dataset_meta=dict(classes=('cat', 'dog', 'hen')))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)
