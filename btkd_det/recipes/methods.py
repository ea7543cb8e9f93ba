"""What each method puts at the logits, and what it leaves of the cross entropy."""

import copy
from typing import Any, NamedTuple

from ..checks import check_choice
from ..config.presets import btkd, loss_of, robust

#: A network that learns alone, in the student's place or in the teacher's.
PLAIN = ('student', 'teacher')


class Method(NamedTuple):
    """A row of the table.

    Attributes:
        losses (list[dict]): At the site ``logits``; none for a network that learns alone.
        balanced (bool): Whether the protocol shares out the weight between KD and the cross
            entropy; if not, each counts fully.
        title (str): For a table.
        source (str): Where the numbers come from.
    """

    losses: list
    balanced: bool
    title: str
    source: str


_ALONE = 'cross entropy alone'
_KD_SOURCE = 'KD (arXiv 1503.02531)'
_DKD_SOURCE = 'DKD (arXiv 2203.08679), where some pairs of CIFAR-100 have a beta below 8'
_NKD_SOURCE = 'NKD (arXiv 2303.13005)'
_WTTM_SOURCE = (
    'WTTM (arXiv 2402.11148), which chooses gamma and beta for each pair; here the defaults'
)
_BTKD_SOURCE = 'BTKD (arXiv 2412.09874) around '
_IKD_SOURCE = 'IKD (AAAI 2025); 6.5 beside DKD and 6.0 beside NKD are its own weights'
_IKD_OURS = f'{_IKD_SOURCE}, 2 here is ours (docs/results.md)'


def _ikd(name: str = 'ikd') -> dict[str, Any]:
    """The first epoch collects, as published."""
    values = loss_of(name)
    return dict(values, collect_epochs=1, loss_weight=values.pop('loss_weight'))


METHODS = {
    'student': Method([], False, 'student alone', _ALONE),
    'teacher': Method([], False, 'teacher alone', _ALONE),
    'kd': Method([loss_of('kd')], True, 'KD', _KD_SOURCE),
    'dkd': Method([loss_of('dkd')], False, 'DKD', _DKD_SOURCE),
    'nkd': Method([loss_of('nkd')], False, 'NKD', _NKD_SOURCE),
    'wttm': Method([loss_of('wttm')], False, 'WTTM', _WTTM_SOURCE),
    'btkd': Method(
        [robust('kd', give_back=True)],
        True,
        'BTKD, robust (KD)',
        f'{_BTKD_SOURCE}{_KD_SOURCE}, made robust (ours): posterior, calibration, relative trust',
    ),
    'btkd-kd': Method([btkd('kd')], True, 'BTKD (KD)', _BTKD_SOURCE + _KD_SOURCE),
    'btkd-dkd': Method([btkd('dkd')], False, 'BTKD (DKD)', _BTKD_SOURCE + _DKD_SOURCE),
    'ikd-kd': Method([loss_of('kd'), _ikd('ikd beside kd')], True, 'KD + IKD', _IKD_OURS),
    'ikd-dkd': Method([loss_of('dkd'), _ikd()], False, 'DKD + IKD', _IKD_SOURCE),
    'ikd-nkd': Method([loss_of('nkd'), _ikd('ikd beside nkd')], False, 'NKD + IKD', _IKD_SOURCE),
    'ikd-wttm': Method([loss_of('wttm'), _ikd('ikd beside kd')], False, 'WTTM + IKD', _IKD_OURS),
    'btkd-ikd': Method(
        [btkd('kd'), _ikd('ikd beside kd')],
        True,
        'BTKD (KD) + IKD',
        f'{_BTKD_SOURCE}KD; {_IKD_OURS}',
    ),
}


def find_method(name: str) -> Method:
    """A row of :data:`METHODS`.

    Args:
        name (str): Its key.

    Returns:
        Method: The row.

    Raises:
        ConfigError: There is none of this name.
    """
    check_choice('method', name, METHODS)
    return METHODS[name]


def terms(losses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All losses of a method, hosts included.

    Args:
        losses (list[dict]): As in a row of :data:`METHODS`.

    Returns:
        list[dict]: BTKD's host follows it.
    """
    return [part for loss in losses for part in (loss, loss.get('loss')) if part]


def methods_with(name: str) -> list[str]:
    """The methods with a loss, alone or as BTKD's host.

    Args:
        name (str): Type of the loss, without its scope.

    Returns:
        list[str]: Keys of :data:`METHODS`.
    """
    kind = f'btkd_det.{name}'
    return [key for key, row in METHODS.items() if kind in [t['type'] for t in terms(row.losses)]]


def losses_at_logits(
    method: Method, num_classes: int, changes: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any] | list[dict[str, Any]]:
    """The losses of a method for a number of classes.

    Args:
        method (Method): The row.
        num_classes (int): For IKD's table.
        changes (dict[str, dict], optional): Type of a loss, without its scope, to arguments that
            take the place of the row's, wherever that loss stands.

    Returns:
        dict | list[dict]: A new one in each call: the loss, or the list of several.
    """
    losses = copy.deepcopy(method.losses)
    for loss in losses:
        if 'num_classes' in loss:
            loss['num_classes'] = num_classes
    for part in terms(losses):
        part.update((changes or {}).get(part['type'].removeprefix('btkd_det.'), {}))
    return losses[0] if len(losses) == 1 else losses
