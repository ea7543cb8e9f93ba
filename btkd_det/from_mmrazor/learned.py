"""MMRazor's losses that learn through connectors of their own: MGD and FBKD."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .errors import NoCounterpart
from .sides import kind_of

#: A loss's connectors: the argument that each gives, and its type.
CONNECTORS = {
    'MGDLoss': {'preds_S': 'MGDConnector'},
    'FBKDLoss': {'s_input': 'FBKDStudentConnector', 't_input': 'FBKDTeacherConnector'},
}
_OF_CHANNELS = ('type', '_scope_', 'in_channels', 'student_channels', 'teacher_channels')


def without_connectors(
    kind: str, mapping: Mapping[str, Any], distiller: Mapping[str, Any]
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """A loss's records without the connectors that are a part of the loss itself.

    Args:
        kind (str): MMRazor's class of the loss; empty where it is of none.
        mapping (dict): Its entry in ``loss_forward_mappings``.
        distiller (dict): The ``ConfigurableDistiller``.

    Returns:
        tuple[dict, dict]: The records, and what the connectors say, as arguments of our loss.

    Raises:
        NoCounterpart: A connector is missing, shared, of another kind, or says what ours does
            not do.
    """
    if kind not in CONNECTORS:
        return mapping, {}
    found, records = [], dict(mapping)
    for argument, expected in CONNECTORS[kind].items():
        record = dict(mapping.get(argument) or {})
        name = record.pop('connector', None)
        connector = (distiller.get('connectors') or {}).get(name)
        if not isinstance(connector, dict) or kind_of(connector) != expected:
            raise NoCounterpart(
                f'its {argument} comes through the connector {name!r}; valid for a translation is '
                f'a {expected}, which learns what btkd_det.{kind} learns'
            )
        if _uses(distiller)[name] > 1:
            raise NoCounterpart(
                f'the connector {name} is shared by {_uses(distiller)[name]} losses: '
                f'btkd_det.{kind} learns one for each level'
            )
        records[argument] = type(mapping[argument])(record)
        found.append((name, connector))
    read = _mgd if kind == 'MGDLoss' else _fbkd
    options = [read(name, connector) for name, connector in found]
    if any(other != options[0] for other in options):
        raise NoCounterpart(
            f'its connectors differ: {options[0]} and {options[1]}; valid: the same for both'
        )
    return records, options[0]


def _uses(distiller: Mapping[str, Any]) -> Counter:
    """How many records each connector has."""
    return Counter(
        record.get('connector')
        for mapping in (distiller.get('loss_forward_mappings') or {}).values()
        for record in (mapping or {}).values()
    )


def _mgd(name: str, connector: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_others(name, connector, ('lambda_mgd',), mask_on_channel=False, init_cfg=None)
    return dict(mask_ratio=connector.get('lambda_mgd', 0.65))


def _fbkd(name: str, connector: Mapping[str, Any]) -> dict[str, Any]:
    """``maxpool_stride`` comes on top of MMCV's own pooling by 2."""
    own = ('reduction', 'sub_sample', 'maxpool_stride', 'spatial_T', 'channel_T')
    _refuse_others(
        name,
        connector,
        own,
        conv_cfg=dict(type='Conv2d'),
        norm_cfg=dict(type='BN'),
        mode='dot_product',
        zeros_init=True,
        init_cfg=None,
    )
    pooled = connector.get('sub_sample', False)
    return dict(
        reduction=connector.get('reduction', 2),
        pool=2 * connector.get('maxpool_stride', 2) if pooled else 1,
        temperature=connector.get('spatial_T', 0.5),
    )


def _refuse_others(
    name: str, connector: Mapping[str, Any], own: tuple[str, ...], **alike: Any
) -> None:
    for key, value in connector.items():
        if key in _OF_CHANNELS or key in own:
            continue
        if key not in alike or value != alike[key]:
            raise NoCounterpart(f'the connector {name} has {key}={value!r}')
