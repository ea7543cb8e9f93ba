"""Every entry of the loss dict over three training steps, for models at all sites.

``python -m tests.models.golden_sites`` writes ``tests/golden/site_losses.json`` anew. It records
what the code gives, so it says nothing of whether that is right; the other tests do. It is of use
where code moves and no number may: record before, compare after.
"""

import copy
import importlib
import importlib.util
import json
import tempfile
from pathlib import Path

import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from mmengine.runner import set_random_seed

from tests.classifiers import build_classifier, distilled_resnet, image_batch, tiny_resnet
from tests.conftest import build_detector, detection_batch, same_globals, tiny_faster_rcnn
from tests.models.test_sites import tiny_cascade
from tests.single_stage import distilled as distilled_single_stage
from tests.single_stage import tiny, tiny_detr

FILE = Path(__file__).parents[1] / 'golden' / 'site_losses.json'
STEPS = (0.0, 0.5, 0.9)
CLASS_MAP = [4, 0, 2]

KD = dict(type='btkd_det.KDLoss', temperature=1.0)
BTKD = dict(type='btkd_det.BTKDLoss', loss=KD)
ROBUST = dict(
    type='btkd_det.BTKDLoss',
    loss=KD,
    rectify=dict(type='posterior', label_noise='estimated', missed='estimated'),
    schedule='none',
    trust='relative',
    calibrate=True,
)
FITNET = dict(type='btkd_det.FitNetLoss')
PKD = dict(type='btkd_det.PKDLoss', levels=(0, 1, 2), loss_weight=6.0)
BOX = dict(type='btkd_det.BoxLoss')
BINARY = dict(type='btkd_det.BinaryKDLoss', temperature=2.0)


def two_stage(distill, student=None, teacher=None, **keys):
    """A distilled Faster R-CNN, or another two-stage detector, with a random teacher."""
    teacher = copy.deepcopy(teacher or tiny_faster_rcnn(width=12, neck=24))
    config = dict(
        copy.deepcopy(student or tiny_faster_rcnn()),
        type='btkd_det.DistilledTwoStageDetector',
        teacher=dict(config=teacher, checkpoint=saved(teacher), **keys),
        distill=distill,
    )
    return build_detector(config)


def single_stage(name, distill):
    """A distilled detector of a single-stage family with a random teacher of the family."""
    teacher = tiny(name)
    return build_detector(distilled_single_stage(tiny(name), teacher, saved(teacher), distill))


def any_detector(distill):
    """A distilled DETR."""
    teacher = tiny_detr()
    kind = dict(type='btkd_det.DistilledDetector', host='DETR')
    return build_detector(
        distilled_single_stage(tiny_detr(), teacher, saved(teacher), distill, **kind)
    )


def classifier(distill, teacher=None, class_map=None, **keys):
    """A distilled ResNet-18 with a random teacher that normalizes as it did in its training."""
    teacher = teacher or tiny_resnet(width=12, mean=[110.0] * 3, std=[50.0] * 3, to_rgb=True)
    path = saved(teacher, build_classifier)
    config = dict(config=teacher, checkpoint=path, class_map=class_map)
    return build_classifier(distilled_resnet(config, distill, **keys))


def in_mmrazor(distill):
    """MMRazor's algorithm with our distiller."""
    importlib.import_module('btkd_det.compat.mmrazor')
    teacher = build_detector(tiny_faster_rcnn(width=12, neck=24), seed=7)
    student = build_detector(tiny_faster_rcnn(), seed=0)
    return MODELS.build(
        dict(
            type='mmrazor.FpnTeacherDistill',
            architecture=student,
            teacher=teacher,
            distiller=dict(type='btkd_det.BTKDDistiller', distill=distill),
        )
    )


def saved(config, build=build_detector):
    """A checkpoint of a random teacher."""
    path = Path(tempfile.mkdtemp()) / 'teacher.pth'
    torch.save(build(copy.deepcopy(config), seed=7).state_dict(), path)
    return str(path)


def retinanet():
    return single_stage(
        'RetinaNet',
        dict(dense_logits=ROBUST, fpn=dict(type='btkd_det.CWDLoss', gate='foreground')),
    )


#: Name to a function that builds the model.
CASES = {
    'faster_rcnn': lambda: two_stage(
        dict(roi_logits=BTKD, fpn=[dict(PKD, gate='teacher_right'), PKD])
    ),
    'faster_rcnn_boxes': lambda: two_stage(
        dict(
            fpn=dict(losses=dict(FITNET, gate='foreground'), stop_at=0.7),
            roi_boxes=BOX,
            roi_logits=[
                dict(BTKD, judge='class_and_box', foreground_only=True),
                dict(type='btkd_det.IKDLoss', num_classes=4, collect_iters=1),
            ],
        )
    ),
    'faster_rcnn_features': lambda: two_stage(
        dict(
            roi_features=[dict(FITNET, gate='teacher_right'), dict(FITNET, gate='foreground')],
            fpn=dict(type='btkd_det.ReviewKDLoss', mid_channels=8),
        )
    ),
    'faster_rcnn_class_map': lambda: two_stage(
        dict(roi_logits=ROBUST, roi_boxes=BOX, fpn=dict(PKD, gate='teacher_right')),
        teacher=tiny_faster_rcnn(num_classes=5),
        class_map=CLASS_MAP,
    ),
    'cascade_rcnn': lambda: two_stage(
        dict(
            roi_logits=[KD, BTKD],
            roi_features=PKD | dict(levels=None),
            roi_boxes=dict(losses=BOX, stages='last'),
        ),
        tiny_cascade(),
        tiny_cascade(),
    ),
    'cascade_of_one_stage_teacher': lambda: two_stage(
        dict(roi_logits=ROBUST, roi_boxes=BOX), tiny_cascade(), tiny_faster_rcnn()
    ),
    'retinanet': retinanet,
    'fcos': lambda: single_stage(
        'FCOS', dict(dense_logits=[BTKD, dict(type='btkd_det.DISTLoss')], fpn=PKD)
    ),
    'atss': lambda: single_stage(
        'ATSS', dict(dense_logits=[dict(type='btkd_det.DKDLoss'), BINARY])
    ),
    'gfl': lambda: single_stage(
        'GFL', dict(dense_boxes=dict(type='btkd_det.DistributionLoss'), dense_logits=BINARY)
    ),
    'rtmdet': lambda: single_stage('RTMDet', dict(dense_logits=ROBUST)),
    'detr': lambda: any_detector(dict(fpn=FITNET, backbone=dict(PKD, levels=None))),
    'classifier': lambda: classifier(
        dict(logits=[BTKD, dict(ROBUST, rectify='swap', give_back=True)], features=FITNET)
    ),
    'classifier_mixed': lambda: classifier(
        dict(
            logits=[dict(type='btkd_det.NKDLoss'), dict(type='btkd_det.RLDLoss')],
            features=FITNET,
        ),
        mixed='drop',
        train_cfg=dict(augments=dict(type='CutMix', alpha=1.0)),
    ),
    'classifier_class_map': lambda: classifier(
        dict(logits=[dict(type='btkd_det.WTTMLoss'), BTKD]),
        teacher=tiny_resnet(width=12, num_classes=9),
        class_map=[8, 1, 0, 3, 5, 4, 7],
    ),
    'mmrazor': lambda: in_mmrazor(
        dict(roi_logits=BTKD, roi_boxes=BOX, roi_features=FITNET, fpn=PKD)
    ),
}


def is_possible(name):
    """Whether what a case needs is installed."""
    return name != 'mmrazor' or importlib.util.find_spec('mmrazor') is not None


def run(name):
    """The loss dicts of three steps of plain gradient descent.

    Args:
        name (str): Of :data:`CASES`.

    Returns:
        list[dict[str, list[float]]]: For each step every entry, in its order.
    """
    torch.set_num_threads(1)
    with same_globals():
        model = CASES[name]()
        model.train()
        hub = MessageHub.get_instance(f'golden-{name}')
        hub.update_info('max_iters', 100)
        hub.update_info('max_epochs', 10)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        steps = []
        for number, share in enumerate(STEPS):
            hub.update_info('iter', int(100 * share))
            batch = image_batch if name.startswith('classifier') else detection_batch
            set_random_seed(number)
            data = model.data_preprocessor(batch(seed=number), training=True)
            losses = model(**data, mode='loss')
            optimizer.zero_grad()
            model.parse_losses(losses)[0].backward()
            optimizer.step()
            steps.append({key: as_floats(value) for key, value in losses.items()})
    return steps


def as_floats(value):
    """An entry of a loss dict: a tensor without dimensions, or one for each level."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    return [number for part in parts for number in part.detach().double().flatten().tolist()]


def machine():
    """What the last digits of a sum depend on."""
    return dict(torch=torch.__version__, cpu=torch.backends.cpu.get_cpu_capability())


def main():
    cases = {name: run(name) for name in CASES if is_possible(name)}
    FILE.write_text(json.dumps(dict(machine=machine(), cases=cases), indent=1) + '\n')
    print(f'wrote {FILE}: {len(cases)} cases')


if __name__ == '__main__':
    main()
