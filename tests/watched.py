"""Trainings of seconds with a teacher, for what watches them: a classifier and a detector."""

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from tests.classifiers import distilled_resnet, tiny_resnet, write_images
from tests.conftest import tiny_faster_rcnn

CLASSES = ('cat', 'dog', 'hen')


def _run(work_dir, scope, change=None, **keys):
    keys = (
        dict(
            work_dir=str(work_dir),
            train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
            val_cfg=dict(),
            default_scope=scope,
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=-1),
                logger=dict(type='LoggerHook', interval=1),
            ),
            randomness=dict(seed=0),
            experiment_name=f'{work_dir.parent.name}-{work_dir.name}',
        )
        | keys
    )
    # As in a config file: a runner builds from it, and hooks read it.
    with DefaultScope.overwrite_default_scope(scope):
        cfg = Config(keys)
        if change is not None:
            change(cfg)
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner


def train_classifier(
    work_dir, data, teacher, loss, train_dataloader_sampler='DefaultSampler', **keys
):
    """A tiny ResNet with a teacher on images of three colors, all of them drawn below ``data``."""
    if not data.is_dir():
        write_images(data, CLASSES)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs'),
    ]
    loader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(
            type='CustomDataset',
            data_root=str(data),
            data_prefix='',
            pipeline=pipeline,
            # Which would collect all garbage, for seconds.
            serialize_data=False,
        ),
    )
    model = distilled_resnet(teacher, dict(logits=loss), tiny_resnet(num_classes=3))
    return _run(
        work_dir,
        'mmpretrain',
        model=model,
        train_dataloader=dict(loader, sampler=dict(type=train_dataloader_sampler, shuffle=True)),
        val_dataloader=loader,
        val_evaluator=dict(type='Accuracy', topk=(1,)),
        **keys,
    )


def train_detector(work_dir, data, teacher, **keys):
    """A tiny Faster R-CNN with a teacher on data in COCO's format, of two classes."""
    load = dict(type='LoadImageFromFile')
    annotate = dict(type='LoadAnnotations', with_bbox=True)
    resize = dict(type='Resize', scale=(96, 96), keep_ratio=True)
    metas = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
    dataset = dict(
        type='CocoDataset',
        data_root=str(data),
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('square', 'bar')),
        serialize_data=False,
    )
    flip = dict(type='RandomFlip', prob=0.5)
    train = [load, annotate, resize, flip, dict(type='PackDetInputs')]
    test = [load, resize, annotate, dict(type='PackDetInputs', meta_keys=metas)]
    model = tiny_faster_rcnn(num_classes=2)
    model.update(
        type='btkd_det.DistilledTwoStageDetector',
        teacher=teacher,
        distill=dict(roi_logits=dict(type='btkd_det.KDLoss')),
    )
    loader = lambda ann_file, pipeline, shuffle: dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        dataset=dict(dataset, ann_file=ann_file, pipeline=pipeline, test_mode=not shuffle),
    )
    return _run(
        work_dir,
        'mmdet',
        model=model,
        train_dataloader=loader('train.json', train, True),
        val_dataloader=loader('val.json', test, False),
        val_evaluator=dict(type='CocoMetric', ann_file=f'{data}/val.json', metric='bbox'),
        **keys,
    )
