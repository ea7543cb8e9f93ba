"""The rows that a model classifies, RoIs or images, walked through with its data."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from .. import preflight
from ..checkpoint import load_weights
from ..checks import check_whole
from ..config import without_distillation
from ..config.reading import innermost_dataset
from ..errors import ConfigError
from ..hints import Model
from ..models.data_classes import classes_of_meta
from ..preflight.classes import label_classes
from ..preflight.unreadable import readable
from ..sites.roi_checks import check_logits
from ..sites.rois import box_heads, record_rois
from .loaders import one_pass


@dataclass
class Rows:
    """What a model said of a batch; R rows, C classes.

    Attributes:
        logits (Tensor): (R, C), background last where there is one.
        labels (Tensor): Class index, (R,).
        images (Tensor): Index of each row's image in the batch, (R,).
        boxes (Tensor | None): RoIs as x1, y1, x2, y2 in pixels of the input, (R, 4); ``None``
            where a row is a whole image.
        truths (list[Tensor] | None): The annotated boxes of each image, (G, 4) in pixels of the
            input; ``None`` where a row is a whole image.
        left_out (int): Rows of the batch that are not here: their logits or boxes are not finite.
    """

    logits: Tensor
    labels: Tensor
    images: Tensor
    boxes: Tensor | None = None
    truths: list | None = None
    left_out: int = 0


def load(
    config: str,
    checkpoint: str,
    options: dict[str, Any] | None = None,
    loader: str = 'train_dataloader',
    place: str = 'cpu',
) -> tuple[Config, nn.Module]:
    """A plain config, its data and its model with weights, all checked.

    Args:
        config (str): A file or ``'mmdet::...'``. Of a distilled config, the student's part.
        checkpoint (str): A file or an http(s) address.
        options (dict, optional): What ``--cfg-options`` says.
        loader (str): The data loader that will be walked through.
        place (str): The model's device.

    Returns:
        tuple[Config, nn.Module]: The config and the model, in eval mode. With
        ``on_bad_image='skip'`` the training data leave bad images out, as in training.

    Raises:
        ConfigError: One of them cannot be used.
    """
    cfg = without_distillation(preflight.load_config(config, options))
    if not cfg.get(loader):
        raise ConfigError(f'CONFIG.{loader}: missing; without it there is nothing to look at')
    found = preflight.check_data(cfg, (loader,))
    preflight.check_samples(cfg, (loader,), found)
    model = preflight.check_model(cfg)
    load_weights(model, checkpoint, 'CKPT')
    preflight.skip_bad_images(cfg)
    return cfg, model.to(place).eval()


@dataclass
class Data:
    """Batches to walk through.

    Attributes:
        batches (Iterable[dict]): As MMEngine's data loaders give them.
        count (int): How many; 0 where the data do not tell.
        class_names (tuple[str] | None): Where the data set tells them.
        dataset (Dataset): What the batches are of.
    """

    batches: Iterable
    count: int
    class_names: tuple | None
    dataset: object = None


def data(
    cfg: Config, loader: str = 'train_dataloader', seed: int = 0, max_iters: int | None = None
) -> Data:
    """The data of a config, each image once; see :func:`btkd_det.report.loaders.one_pass`.

    Args:
        cfg (Config): From :func:`load`.
        loader (str): Which data.
        seed (int): Of the order, the augmentation and a detector's sampling.
        max_iters (int, optional): How many batches at most. Defaults to all.

    Returns:
        Data: Their batches.

    Raises:
        ConfigError: ``max_iters`` is below 1; in the walk, an image that cannot be read.
    """
    from mmengine.registry import DefaultScope
    from mmengine.runner import Runner, set_random_seed

    check_whole('--max-iters', max_iters, least=1, optional=True)
    set_random_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        found = Runner.build_dataloader(one_pass(cfg[loader]), seed=seed)
    total = len(found) if hasattr(found.dataset, '__len__') else None
    # What the labels mean: COCO's are numbered by the file, whatever the order of the names.
    names = label_classes(innermost_dataset(cfg[loader].dataset), cfg.get('default_scope', ''))
    names = tuple(names or ()) or classes_of_meta(getattr(found.dataset, 'metainfo', None))
    # Any other sampler without an end is cut off after one pass, too.
    count = min(filter(None, (total, max_iters)), default=None)
    batches = readable(found, found.dataset, cfg[loader].dataset, f'CONFIG.{loader}.dataset')
    return Data(itertools.islice(batches, count), count or 0, names, found.dataset)


def blue_first(cfg: Config, model: Model, loader: str = 'train_dataloader') -> bool:
    """Whether the images of a data set come with the blue channel first.

    Args:
        cfg (Config): From :func:`load`.
        model (nn.Module): From :func:`load`.
        loader (str): Which data.

    Returns:
        bool: True where the model's preprocessor turns the channels around, or leaves images as
        they are that a pipeline reads from files.
    """
    preprocessor = model.data_preprocessor
    turns = getattr(preprocessor, '_channel_conversion', getattr(preprocessor, 'to_rgb', False))
    return bool(turns) or 'LoadImageFromFile' in str(cfg[loader].get('dataset'))


def walk(
    model: Model, loader: Iterable[dict[str, Any]], report: Callable[[], None] | None = None
) -> Iterator[Any]:
    """What a model says of every row of its data.

    A classifier's rows are its images, without batch augmentation (a mixed image has no one
    label). A two-stage detector's are the RoIs that it proposes, assigns and samples as it would
    in its own training, background included. Normalization and dropout are as in evaluation.

    Args:
        model (nn.Module): A classifier of MMPretrain or a two-stage detector of MMDetection,
            its weights loaded, on its device. It is put in eval mode.
        loader (Iterable[dict]): Batches with annotations.
        report (Callable[[], None], optional): Called after each batch.

    Yields:
        tuple[dict, list[Rows]]: A batch, and its rows: one entry, or one for each stage of a
        cascade. Rows with a logit or a box that is not finite are left out and counted.

    Raises:
        ConfigError: The model is of neither kind, or its RoI head or its box heads' loss gives
            no logits for each class and background.
    """
    read = _reader(model)
    model.eval()
    for batch in loader:
        with torch.no_grad():
            rows = read(model, model.data_preprocessor(batch, training=False))
        yield batch, [finite(part) for part in rows]
        if report is not None:
            report()


def finite(rows: Rows) -> Rows:
    """The rows whose numbers are all finite.

    Args:
        rows (Rows): All rows of a batch.

    Returns:
        Rows: The same where all are; else fewer, and ``left_out`` says how many are missing.
    """
    kept = rows.logits.isfinite().all(dim=1)
    if rows.boxes is not None:
        kept = kept & rows.boxes.isfinite().all(dim=1)
    if bool(kept.all()):
        return rows
    boxes = None if rows.boxes is None else rows.boxes[kept]
    parts = rows.logits[kept], rows.labels[kept], rows.images[kept], boxes
    return Rows(*parts, rows.truths, rows.left_out + int((~kept).sum()))


def check_some_finite(count: int, left_out: int) -> None:
    """Refuse a model that gave rows, and none of finite numbers.

    Args:
        count (int): Rows with finite numbers.
        left_out (int): The others.

    Raises:
        ConfigError: There are only others.
    """
    if left_out and not count:
        raise ConfigError(
            f'CKPT: all {left_out} rows of logits that this model gives are not finite; valid: '
            'weights of a training that did not diverge, and images as the model was trained on'
        )


def _reader(model: Any) -> Any:
    """How to get rows out of this kind of model."""
    roi_head = getattr(model, 'roi_head', None)
    if roi_head is not None and getattr(roi_head, 'with_bbox', False):
        check_logits([('model', head) for head in box_heads(roi_head)], 'CONFIG.model')
        return _at_rois
    head = getattr(model, 'head', None)
    several = 'MultiLabel' in type(head).__name__ or 'MultiTask' in type(head).__name__
    if hasattr(model, 'extract_feat') and hasattr(head, 'predict') and not several:
        return _of_images
    raise ConfigError(
        f'CONFIG.model.type: {type(model).__name__} gives no logits per class; valid are '
        'classifiers of MMPretrain and two-stage detectors of MMDetection'
    )


def _at_rois(model: Any, data: Any) -> list[Any]:
    from mmdet.structures.bbox import get_box_tensor

    for sample in data['data_samples']:
        if 'bboxes' not in sample.get('gt_instances', ()):
            raise ConfigError(
                'CONFIG: the pipeline of this data loads no boxes; valid is one with '
                "dict(type='LoadAnnotations', with_bbox=True)"
            )
    with record_rois(model.roi_head) as recorder:
        model.loss(data['inputs'], data['data_samples'])
    recorder.finish(data['data_samples'])
    truths = [get_box_tensor(sample.gt_instances.bboxes) for sample in data['data_samples']]
    return [
        Rows(stage.logits, stage.labels, stage.rois[:, 0].long(), stage.rois[:, 1:], truths)
        for stage in recorder.records
    ]


def _of_images(model: Any, data: Any) -> list[Any]:
    logits = model.head(model.extract_feat(data['inputs']))
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ConfigError(
            f'CONFIG.model.head: {type(model.head).__name__} gives no logits, (N, C); valid is a '
            'head for one label, such as LinearClsHead'
        )
    labels = torch.cat([sample.gt_label for sample in data['data_samples']]).to(logits.device)
    return [Rows(logits, labels, torch.arange(len(labels), device=labels.device))]
