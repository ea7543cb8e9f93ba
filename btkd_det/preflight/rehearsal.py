"""One sample of each data loader, through the model and into the evaluators."""

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import torch
from mmengine import registry as root
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.logging import MessageHub, MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope

from ..errors import ConfigError
from ..hints import Model
from .building import build_part, reason
from .evaluators import measures_coco
from .registries import typed_nodes
from .samples import collated

# Above this number of parameters a step takes too long to be tried on a CPU.
LARGE = 60_000_000


def check_step(cfg: Config, model: Model, found: dict) -> None:
    """Try the loss on a sample of the training data, and a prediction on one of validation.

    Not in a training of several processes; and where the step would take long on a CPU, or a
    teacher's answers come from a cache by the images' places in the data set, the sample is
    normalized and stacked only.

    Args:
        cfg (Config): The whole config, its data checked.
        model (nn.Module): The model that was built of it; its statistics may change.
        found (dict[str, Contents]): See :func:`btkd_det.preflight.check_data`.

    Raises:
        ConfigError: The model or an evaluator fails at what the pipeline gives, or a loss is
            infinite or no number already.
    """
    if cfg.get('launcher', 'none') != 'none' or not hasattr(model, 'data_preprocessor'):
        return
    device = get_device()
    large = device == 'cpu' and sum(p.numel() for p in model.parameters()) > LARGE
    model = revert_sync_batchnorm(model).to(device)
    for loader, mode in (('train_dataloader', 'loss'), ('val_dataloader', 'predict')):
        for sample, metainfo in found[loader].samples[:1] if loader in found else ():
            training = mode == 'loss'
            field = f'{loader}.dataset.pipeline'
            model.train(training)
            data = _try(field, model.data_preprocessor, collated(cfg[loader], sample), training)
            cached = (cfg.model.get('teacher') or {}).get('cache')
            if large or (training and cached):
                continue
            # A model may build a part of itself when it is called.
            scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine')
            with _progress(), scope:
                result = _try(field, model._run_forward, data, mode=mode)
            if training:
                _check_finite(cfg, result)
            else:
                _check_evaluators(cfg, sample, result, metainfo)


def _check_finite(cfg: Config, losses: Any) -> None:
    """No training gets better from a loss that is not finite; other weights may have a better."""
    if cfg.get('load_from') or cfg.get('resume') or not isinstance(losses, dict):
        return
    bad = []
    for name, value in losses.items():
        parts = value if isinstance(value, (list, tuple)) else [value]
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        if 'loss' in name and not all(bool(part.isfinite().all()) for part in tensors):
            bad.append(name)
    if bad:
        raise ConfigError(
            f'model: {", ".join(bad)} of the first training sample is infinite or no number; look '
            'for a 0 or a nan among what scales it, such as target_stds and target_means of a '
            'bbox_coder, loss_weight, or the std of the data_preprocessor'
        )


@contextlib.contextmanager
def _progress() -> Iterator[None]:
    """The loss of a distilled model asks MMEngine's message hub how far training is."""
    before = MessageHub._instance_dict.copy()
    hub = MessageHub.get_instance('preflight')
    for name, value in dict(iter=0, epoch=0, max_iters=1000, max_epochs=10).items():
        hub.update_info(name, value)
    try:
        yield
    finally:
        MessageHub._instance_dict = before


def _try(field: str, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call what the first step would, with what it prints kept back."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            return function(*args, **kwargs)
    except ConfigError:
        raise
    except Exception as error:  # models and evaluators are anybody's code
        raise ConfigError(
            f'{field}: what it gives does not fit, {_where(error)} fails: '
            f'{reason(error)}; valid: transforms that load, and pack by '
            'Pack...Inputs, all that the model and the evaluator read'
        ) from error
    finally:
        logger.setLevel(level)


def _where(error: Exception) -> Any:
    """The function that raised."""
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return getattr(code, 'co_qualname', code.co_name)


def _check_evaluators(cfg: Config, sample: Any, result: Any, metainfo: Any) -> None:
    scope = cfg.get('default_scope') or 'mmengine'
    results = [r.to_dict() if hasattr(r, 'to_dict') else r for r in result]
    for node, registry, field in typed_nodes(cfg):
        if registry is not root.METRICS or not field.startswith('val_'):
            continue
        if measures_coco(node, scope):
            _check_masks(node, results, field)
        if node.get('ann_file'):
            continue
        metric = build_part(node, root.METRICS, field, scope)
        metric.dataset_meta = metainfo
        _try('val_dataloader.dataset.pipeline', metric.process, pseudo_collate([sample]), results)


def _check_masks(node: Any, results: Any, field: str) -> None:
    metrics = node.get('metric', 'bbox')
    predicted = results[0].get('pred_instances', {})
    if 'segm' in metrics and 'masks' not in predicted:
        raise ConfigError(
            f"{field}.metric: {metrics!r}, but the model predicts no masks; valid: 'bbox'"
        )
