"""A teacher's mean logits per class, gathered over the training data before distilling."""

import torch

from ..errors import ConfigError
from ..losses import IKDLoss
from ..models.rois import recorded


def gather(model, loader, only_right=False, report=None):
    """Run a model over training data and average its logits per class.

    A classifier counts its images. A two-stage detector counts the RoIs that it proposes and
    samples itself, background included, as it would in its own training; a student that
    collects while it trains counts its own RoIs instead. Normalization and dropout are as in
    evaluation.

    Args:
        model (nn.Module): The teacher, a classifier of MMPretrain or a two-stage detector of
            MMDetection, its weights loaded, on its device.
        loader (Iterable[dict]): Batches as MMEngine's data loaders give them.
        only_right (bool): Count the rows alone on which the model is right. Defaults to False.
        report (Callable[[], None], optional): Called after each batch.

    Returns:
        dict[str, Tensor]: ``class_means``, (C, C) float64, and ``class_counts``, (C,), for
        :class:`~btkd_det.losses.IKDLoss`.

    Raises:
        ConfigError: The model is of neither kind, or there was no batch.
    """
    look = _reader(model)
    model.eval()
    table = None
    with torch.no_grad():
        for batch in loader:
            data = model.data_preprocessor(batch, training=True)
            for logits, labels in look(model, data):
                if table is None:
                    table = IKDLoss(logits.shape[1], only_right=only_right).to(logits.device)
                table.update(logits, labels)
            if report is not None:
                report()
    if table is None:
        raise ConfigError('CONFIG.train_dataloader: gave no batch; valid is a set with images')
    return dict(class_means=table.class_means.cpu(), class_counts=table.class_counts.cpu())


def _reader(model):
    """How to get logits, (R, C), and labels, (R,), out of this kind of model."""
    roi_head = getattr(model, 'roi_head', None)
    if roi_head is not None and getattr(roi_head, 'with_bbox', False):
        return _at_rois
    if hasattr(model, 'extract_feat') and hasattr(getattr(model, 'head', None), 'num_classes'):
        return _of_images
    raise ConfigError(
        f'CONFIG.model.type: {type(model).__name__} gives no logits per class to average; valid '
        'are classifiers of MMPretrain and two-stage detectors of MMDetection'
    )


def _at_rois(model, data):
    with recorded(model.roi_head) as seen:
        model.loss(data['inputs'], data['data_samples'])
    return [(rois.logits, rois.labels) for rois in seen]


def _of_images(model, data):
    logits = model.head(model.extract_feat(data['inputs']))
    labels = torch.cat([sample.gt_label for sample in data['data_samples']])
    return [(logits, labels.to(logits.device))]
