"""Which of the maps that a neck or a backbone gives a module of MMRazor's configs is."""

import re
from typing import Any

from ..config.named_types import is_type
from ..config.reading import type_name
from .errors import NoCounterpart

# Backbones of MMPretrain whose ``layerN`` gives what the backbone gives of that stage.
_STAGED = (
    'ResNet',
    'ResNetV1c',
    'ResNetV1d',
    'ResNet_CIFAR',
    'ResNeXt',
    'SEResNet',
    'SEResNeXt',
    'ResNeSt',
    'Res2Net',
    'RegNet',
)


def neck_level(source: str, data_idx: Any, neck: Any) -> Any:
    """The level of a detector's neck, by its output's index or by FPN's convolution."""
    if source == 'neck':
        outs = neck.get('num_outs') if isinstance(neck, dict) else None
        return map_index(data_idx, outs and range(outs), 'the neck')
    found = re.fullmatch(r'neck\.fpn_convs\.(\d+)(\.conv)?', source)
    if not found:
        raise NoCounterpart(f'{source!r} is none of neck, neck.fpn_convs.N, neck.fpn_convs.N.conv')
    check_no_index(source, data_idx)
    if not is_type(neck, 'mmdet', 'FPN'):
        kind = type_name(neck) if isinstance(neck, dict) else neck
        raise NoCounterpart(
            f'{source!r} is what the neck gives for FPN alone, and this neck is {kind}'
        )
    if found[2] and (neck.get('norm_cfg') or neck.get('act_cfg')):
        raise NoCounterpart(
            f'{source!r} is not what the neck gives: a norm or an activation follows it'
        )
    if int(found[1]) >= _fpn_convolutions(neck):
        raise NoCounterpart(f'the neck has no {source!r}: {_fpn_convolutions(neck)} convolutions')
    # FPN's extra convolutions give the levels above, in their order.
    return int(found[1])


def _fpn_convolutions(neck: Any) -> Any:
    """How many ``fpn_convs`` MMDetection's FPN makes."""
    inputs, start, end = (
        len(neck.in_channels),
        neck.get('start_level', 0),
        neck.get('end_level', -1),
    )
    used = (inputs if end in (-1, inputs - 1) else end + 1) - start
    return max(used, neck.num_outs) if neck.get('add_extra_convs') else used


def stage_level(source: str, data_idx: Any, backbone: Any) -> Any:
    """The level of a classifier's backbone, by a module of its name or its index."""
    stages = _stages(backbone)
    if source == 'backbone':
        return map_index(data_idx, stages, 'the backbone')
    check_no_index(source, data_idx)
    found = re.fullmatch(r'backbone\.layer([1-9])', source)
    staged = is_type(backbone, 'mmpretrain', *_STAGED)
    if not (found and staged and int(found[1]) - 1 in stages):
        raise NoCounterpart(
            f'the backbone {type_name(backbone)} gives no maps of {source!r} (out_indices={stages})'
        )
    return stages.index(int(found[1]) - 1)


def pooled_level(source: Any, data_idx: Any, model: Any) -> Any:
    """The level of the backbone's only map, of which a neck takes the mean."""
    check_no_index(source, data_idx)
    neck, backbone = model.get('neck') or {}, model.get('backbone') or {}
    stages = _stages(backbone)
    if not is_type(neck, 'mmpretrain', 'GlobalAveragePooling') or len(stages or ()) != 1:
        raise NoCounterpart(
            f'{source!r} is the mean of one map for a GlobalAveragePooling behind a backbone of '
            f'one map alone; here {type_name(neck) or neck!r} and out_indices={stages}'
        )
    return 0


def _stages(backbone: Any) -> list[Any] | None:
    """Which stages a classifier's backbone gives: of those known, the last where none is named."""
    named = out_indices(backbone)
    return [3] if named is None and is_type(backbone, 'mmpretrain', *_STAGED) else named


def out_indices(backbone: Any) -> list[Any] | None:
    """Which stages a backbone gives, in its order, where its config says so; else None."""
    given = backbone.get('out_indices')
    if given is None:
        return None
    return [given] if isinstance(given, int) else sorted(given)


def map_index(data_idx: Any, maps: Any, what: str) -> Any:
    """``data_idx`` counted from the front; ``maps`` are those there are, None if not known."""
    if data_idx is None:
        return None
    if not isinstance(data_idx, int) or isinstance(data_idx, bool):
        raise NoCounterpart(f'data_idx={data_idx!r} is no number')
    if maps is None:
        if data_idx < 0:
            raise NoCounterpart(
                f'data_idx={data_idx} counts from the end, and how many maps {what} gives is not '
                'known; valid: a number from 0 on'
            )
        return data_idx
    if not -len(maps) <= data_idx < len(maps):
        raise NoCounterpart(f'data_idx={data_idx}, but {what} gives {len(maps)} maps')
    return data_idx % len(maps)


def check_no_index(source: str, data_idx: Any) -> None:
    if data_idx is not None:
        raise NoCounterpart(f'data_idx={data_idx}, but {source!r} gives a single tensor')
