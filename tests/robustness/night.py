"""The smallest training in which all is at work that a night's training has."""

from pathlib import Path

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from .place import Place, flat_config

#: Behind a place's config. Three epochs, or twelve iterations, of one image each.
LINES = """
model.update(
    type='btkd_det.DistilledTwoStageDetector',
    teacher=dict(config='FOLDER/teacher.py', checkpoint='FOLDER/teacher.pth'),
    distill=dict(
        roi_logits=[
            dict(type='btkd_det.BTKDLoss', loss=dict(type='btkd_det.KDLoss', temperature=1.0),
                 trust='measured'),
            dict(type='btkd_det.IKDLoss', num_classes=3, collect_iters=7),
        ],
        fpn=dict(type='btkd_det.PKDLoss'),
    ),
)
custom_hooks = [
    dict(type='EMAHook', momentum=0.1),
    dict(type='EarlyStoppingHook', monitor='mean_score', rule='less', patience=9),
]
optim_wrapper.update(clip_grad=dict(max_norm=10.0))
train_dataloader.update(batch_size=1, num_workers=WORKERS, persistent_workers=WORKERS > 0)
train_dataloader.pop('batch_sampler', None)
val_dataloader.update(num_workers=0)
custom_imports = dict(imports=['tests.robustness.night'])
val_evaluator = [val_evaluator, dict(type='MeanScore')]
"""
EPOCHS = """
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=6),
    dict(type='MultiStepLR', by_epoch=True, milestones=[2], gamma=0.1),
    dict(type='ReduceOnPlateauLR', monitor='mean_score', rule='greater', patience=0),
]
default_hooks['checkpoint'] = dict(
    type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='mean_score', rule='less')
"""
ITERATIONS = """
train_cfg = dict(type='IterBasedTrainLoop', max_iters=12, val_interval=4)
train_dataloader['sampler'] = dict(type='InfiniteSampler', shuffle=True)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=6),
    dict(type='MultiStepLR', by_epoch=False, milestones=[8], gamma=0.1),
]
default_hooks['checkpoint'] = dict(
    type='CheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1,
    save_best='mean_score', rule='less')
log_processor = dict(by_epoch=False)
"""
LOOPS = dict(epochs=EPOCHS, iterations=ITERATIONS)


@METRICS.register_module()
class MeanScore(BaseMetric):
    """The mean of the detections' scores, which differs from validation to validation.

    A few steps do not bring an average precision above 0, by which no checkpoint is the best.
    """

    def process(self, data_batch, data_samples):
        """Take the scores of a batch; draws, as an evaluation with sampling does."""
        torch.rand(3)
        self.results += [sample['pred_instances']['scores'] for sample in data_samples]

    def compute_metrics(self, results):
        """The mean over all detections."""
        return dict(mean_score=float(torch.cat(results).mean()))


def prepare_night(folder: Path, loop: str = 'epochs', workers: int = 0, lines: str = '') -> list:
    """Write data, teacher and config into a folder.

    Args:
        folder (Path): Where; the images are drawn.
        loop (str): ``epochs`` or ``iterations``.
        workers (int): Of the training's data loader; they are persistent.
        lines (str): Python at the end of the config.

    Returns:
        list: The command line of ``tools/train.py``.
    """
    place = Place(folder)
    write_teacher(folder)
    text = LINES.replace('FOLDER', str(folder)).replace('WORKERS', str(workers))
    place.lines += [text, LOOPS[loop], lines]
    return place.write()


def write_teacher(folder: Path):
    """Write a plain detector of the same classes, untrained: ``teacher.py``, ``teacher.pth``."""
    from mmengine.config import Config
    from mmengine.registry import MODELS

    (folder / 'teacher.py').write_text(flat_config().replace('DATA/', f'{folder}/data/'))
    plain = Config.fromfile(folder / 'teacher.py')
    torch.manual_seed(7)
    with MODELS.switch_scope_and_registry('mmdet') as registry:
        model = registry.build(plain.model)
    meta = dict(dataset_meta=dict(classes=('square', 'bar')))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'teacher.pth')
