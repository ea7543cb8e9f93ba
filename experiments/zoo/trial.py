"""One config: plain, distilled but off, and with each preset; prints a JSON object.

python -m experiments.zoo.trial CONFIG
"""

import copy
import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed

import btkd_det
from btkd_det.config import distill
from btkd_det.config.reading import read_config
from btkd_det.errors import ConfigError

from .kinds import shrunk
from .table import PRESETS, Found

SIDES = (128, 320)


def trial(name: str) -> Iterator[Found]:
    """What becomes of a config, more each time.

    Args:
        name (str): As ``read_config`` takes it.

    Yields:
        dict: ``host``: ``'works'`` or why the plain model does not take a step; ``off``: whether
        the distilled model with nothing to distill logs the same numbers; and for each preset
        ``'works'``, ``'refused: ...'`` or ``'fault: ...'``.
    """
    _prepare()
    cfg = read_config(name, 'config')
    shrunk(cfg.model)
    cfg.model.pop('data_preprocessor_augments', None)
    scope = name.partition('::')[0]
    init_default_scope(scope)
    batch = _images if scope == 'mmpretrain' else _detection
    plain, side = None, None
    for side in SIDES:
        try:
            plain = _losses(cfg.model, batch, side)
            break
        except Exception as error:  # a host may raise whatever it likes
            reason = _line(error)
    if plain is None:
        yield dict(host=f'fails: {reason}')
        return
    found: Found = dict(host='works', side=side)
    yield found
    try:
        off = _losses(_distilled(cfg, 'feature', {}).model, batch, side)
        found['off'] = 'works' if _same(plain, off) else 'fault: other numbers than the plain model'
    except ConfigError as error:
        found['off'] = f'refused: {_line(error)}'
    except Exception as error:
        found['off'] = f'fault: {_line(error)}'
    yield found
    for preset in PRESETS:
        found[preset] = _preset(cfg, preset, batch, side)
        yield found


def _preset(cfg: Config, preset: str, batch: Callable, side: int) -> str:
    try:
        distilled = _distilled(cfg, preset)
        model = _build(distilled.model)
        model.teacher.model.init_weights()
        _fill(model.teacher.model)
        losses = _step(model, batch, side)
        own = {k: v for k, v in losses.items() if k.startswith('distill.') and '.loss_' in k}
        total = sum(own.values())
        if not own or not torch.isfinite(total):
            return f'fault: {len(own)} losses, {float(total)}'
        total.backward()
        gradients = [p.grad for _, p in model.named_parameters() if p.grad is not None]
        moved = any(bool(g.abs().sum() > 0) and bool(g.isfinite().all()) for g in gradients)
        return 'works' if moved or float(total) == 0 else 'fault: no gradient'
    except ConfigError as error:
        return f'refused: {_line(error)}'
    except Exception as error:
        return f'fault: {_line(error)}'


def _distilled(cfg: Config, preset: str, sites: dict | None = None) -> Config:
    """Distilled from a teacher of the same config with random weights."""
    teacher = copy.deepcopy(cfg)
    found = distill(cfg, dict(config=teacher, checkpoint='x'), preset)
    found.model.teacher = dict(config=teacher)
    if sites is not None:
        found.model.distill, found.model.teacher = sites, None
    return found


def _build(model: dict) -> torch.nn.Module:
    set_random_seed(0)
    # Some parts of a host hold whatever was in memory: what is told to be no number is found.
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        built = MODELS.build(copy.deepcopy(model))
    finally:
        torch.use_deterministic_algorithms(False)
    set_random_seed(0)
    built.init_weights()
    _fill(built)
    return built.train()


def _fill(model: torch.nn.Module) -> None:
    """Draw what no one initialized: TridentNet's convolutions wait for a checkpoint."""
    for parameter in model.parameters():
        if parameter.isnan().any():
            torch.nn.init.normal_(parameter, std=0.01)


def _step(model: torch.nn.Module, batch: Callable, side: int) -> dict[str, torch.Tensor]:
    data = model.data_preprocessor(batch(side), training=True)
    set_random_seed(0)
    losses = model(**data, mode='loss')
    return {
        key: sum(part.sum() for part in value) if isinstance(value, (list, tuple)) else value.sum()
        for key, value in losses.items()
        if isinstance(value, (list, tuple, torch.Tensor))
    }


def _losses(model: dict, batch: Callable, side: int) -> dict[str, float]:
    return {key: float(value) for key, value in _step(_build(model), batch, side).items()}


def _same(plain: dict[str, float], off: dict[str, float]) -> bool:
    """Not a number is what it is, too."""
    return repr(sorted(plain.items())) == repr(sorted(off.items()))


def _detection(side: int) -> dict[str, list]:
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData, PixelData

    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for i in range(2):
        shape = (side, side)
        boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5], [0.4, 0.3, 0.9, 0.95]]) * side
        masks = np.zeros((2, *shape), dtype=np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.int(), strict=True):
            mask[y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                img_id=i, img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1, 1)
            )
        )
        sample.gt_instances = InstanceData(
            bboxes=boxes, labels=torch.tensor([i, 2]), masks=BitmapMasks(masks, *shape)
        )
        sample.ignored_instances = InstanceData(
            bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
        )
        stuff = torch.full((1, *shape), 4, dtype=torch.long)
        sample.gt_sem_seg = PixelData(sem_seg=stuff)
        samples.append(sample)
        inputs.append(torch.randint(0, 256, (3, *shape), generator=generator, dtype=torch.uint8))
    return dict(inputs=inputs, data_samples=samples)


def _images(side: int) -> dict[str, list]:
    from mmpretrain.structures import DataSample

    side = 224 if side == SIDES[0] else 384
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, side, side), generator=generator, dtype=torch.uint8)
    samples = [DataSample().set_gt_label(label) for label in (3, 5, 0, 7)]
    return dict(inputs=list(images), data_samples=samples)


def _line(error: BaseException) -> str:
    return f'{type(error).__name__}: {" ".join(str(error).split())}'[:300]


def _prepare() -> None:
    """The state that hosts expect of a running training."""
    warnings.simplefilter('ignore')
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    # Hosts ask the runner how far the training is.
    for name, value in dict(iter=0, max_iters=100, epoch=0, max_epochs=10).items():
        MessageHub.get_instance('zoo').update_info(name, value)
    btkd_det.set_progress(0.5)


def main() -> None:
    for found in trial(sys.argv[1]):
        print(json.dumps(found), flush=True)


if __name__ == '__main__':
    main()
