"""Black images that tell the shapes of what student and teacher give."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..hints import Model

#: Sides of square images to try where nothing else tells a size.
CLASSIFIER_SIDES = (128, 224, 32, 64, 256, 384)
DETECTOR_SIDES = (128, 256, 320, 512)

#: A larger image of the data is the last one to try in a detector: any size tells its shapes.
MOST_PIXELS = 512**2

#: What a model raises that does not take an image of this shape.
REFUSALS = (RuntimeError, AssertionError, ValueError, IndexError, TypeError)

_input_shapes: list[tuple[int, int, int] | None] = []


@contextlib.contextmanager
def input_shape(shape: tuple[int, int, int] | None) -> Iterator[None]:
    """Within this context distilled models are built for images of one shape.

    ``tools/train.py`` uses it with a sample of the training data. Where nothing is known of the
    data, the model itself tells what it takes; see :func:`candidates`.

    Args:
        shape (tuple[int, int, int] | None): (C, H, W) of what the data preprocessor gives.
            ``None`` changes nothing.
    """
    if shape is None:
        yield
        return
    channels, height, width = map(int, shape)
    _input_shapes.append((channels, height, width))
    try:
        yield
    finally:
        _input_shapes.pop()


@contextlib.contextmanager
def undisturbed_rng() -> Iterator[None]:
    """Within this context drawing random numbers leaves no trace outside.

    Those of the CPU, and of the GPU that is in use.
    """
    states = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextlib.contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Within this context a model is in eval mode, and nothing asks for gradients.

    Args:
        model (nn.Module): The mode of each of its modules and the random numbers are afterwards
            as they were.
    """
    # One by one: train() of a model may set modes that are not those of before.
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with undisturbed_rng(), torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def probed(models: dict[str, nn.Module], run: Callable, count: int = 1) -> tuple[list[Any], Tensor]:
    """What each of several models gives for black images of the first shape that all take.

    Args:
        models (dict[str, nn.Module]): By the field that describes it in the config; the student
            first.
        run (Callable): Called with a model and images, (N, C, H, W).
        count (int): N.

    Returns:
        tuple[list, Tensor]: What they give, and the images.

    Raises:
        ConfigError: No shape goes through all models.
    """
    student = next(iter(models.values()))
    tried = []
    for shape in candidates(*models.values()):
        image = next(student.parameters()).new_zeros(count, *shape)
        outputs = []
        for field, model in models.items():
            # A teacher that is built already may be elsewhere, or of another precision.
            own = next(model.parameters(), image)
            try:
                outputs.append(run(model, image.to(own.device, own.dtype)))
            except ConfigError:
                raise
            except REFUSALS as error:
                tried.append((shape, field, error))
                break
        else:
            return outputs, image
    raise ConfigError(_refused(tried))


def candidates(*models: nn.Module) -> list[tuple[int, int, int]]:
    """Shapes of images to try, (C, H, W), the likeliest first.

    Of the data within :func:`input_shape`, else of as many channels as the student normalizes or
    its first convolution takes, and of the size that a model states as its own or of common ones.

    Args:
        *models (nn.Module): The student first.

    Returns:
        list[tuple[int, int, int]]: Distinct shapes.
    """
    known = _input_shapes[-1] if _input_shapes else None
    detector = hasattr(models[0], 'extract_feat') and not _is_classifier(models[0])
    if known is not None and not detector:
        return [known]
    shapes = []
    for channels in [known[0]] if known else _channels(models[0]):
        sides = DETECTOR_SIDES if detector else CLASSIFIER_SIDES
        own = [] if detector else [_own_side(model) for model in models]
        shapes += [(channels, side, side) for side in (*own, *sides) if side]
    if known is not None:
        small = known[1] * known[2] <= MOST_PIXELS
        shapes = [known, *shapes] if small else [*shapes, known]
    return list(dict.fromkeys(shapes))


def _channels(model: Model) -> list[int]:
    """How many channels images may have, the likeliest number first."""
    mean = getattr(getattr(model, 'data_preprocessor', None), 'mean', None)
    found = [] if mean is None or mean.numel() == 1 else [mean.numel()]
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None:
        found.append(first.in_channels)
    # The first convolution of YOLOX sees an image in four parts.
    return list(dict.fromkeys([*found, 3]))


def _own_side(model: Model) -> int | None:
    """Side of the only image size that a classifier takes, if it says so."""
    part = getattr(model, 'backbone', getattr(model, 'model', None))
    size = getattr(part, 'img_size', None)
    if size is None:
        # timm's models.
        patches = getattr(part, 'patch_embed', None)
        size = getattr(patches, 'img_size', None)
        size = size or (getattr(part, 'pretrained_cfg', None) or {}).get('input_size')
    return int(size[-1]) if isinstance(size, (list, tuple)) else size


def _is_classifier(model: Model) -> bool:
    return not (hasattr(model, 'bbox_head') or hasattr(model, 'roi_head')) and (
        hasattr(model, 'head') or not hasattr(model, 'extract_feat')
    )


def _refused(tried: Sequence[tuple[tuple[int, ...], str, Exception]]) -> str:
    """Says which model refused what, of the data's own shape if that is known."""
    known = _input_shapes[-1] if _input_shapes else None
    shape, field, error = next((t for t in tried if t[0] == known), tried[-1])
    reason = ' '.join(str(error).split())[:300] or type(error).__name__
    whose = 'the student' if field == 'model' else 'the teacher'
    size = ' x '.join(map(str, shape))
    if known is not None:
        return (
            f'{field}: images of {size} (channels, height, width), as the training data give them, '
            f'do not go through {whose}: {reason}'
        )
    sizes = ', '.join(' x '.join(map(str, shape)) for shape in dict.fromkeys(t[0] for t in tried))
    return (
        f'{field}: no size of an image goes through {whose} (tried {sizes}); the last one failed '
        f'with: {reason}. Valid: build the model within btkd_det.models.probe.input_shape((C, H, '
        'W)), as tools/train.py does with the shape of the data'
    )
