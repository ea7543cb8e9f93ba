"""What the options of BTKDLoss may be, and how they go together."""

from typing import Any

from ..bias.rules import Rule, find_rule
from ..checks import check_number
from ..errors import ConfigError
from ..registry import unwritten
from .logit_loss import LogitLoss
from .trust import FORMS

JUDGES = ('class', 'class_and_box', 'object')
TRUSTS = (None, *FORMS)
#: A rate of the rule that is measured as training goes.
ESTIMATED = 'estimated'


def check_host(host: LogitLoss, space: str) -> None:
    """Raise a ConfigError unless BTKD can wrap a loss in a space."""
    if not host.hosts or unwritten(type(host)):
        raise ConfigError(
            f'loss: {type(host).__name__} cannot be the host of BTKDLoss, it does not '
            'compare a row of the student with one of the teacher; put it beside'
        )
    if space not in host.host_spaces:
        raise ConfigError(
            f'space: {space!r} hands the host log-probabilities of a softmax, which '
            f'{type(host).__name__} does not read; valid: '
            f'{", ".join(map(repr, host.host_spaces))}'
        )


def check_give_back(give_back: bool, trust: str | None) -> None:
    """Raise a ConfigError where nothing is taken that could be given back."""
    if give_back and trust is None:
        raise ConfigError(
            'give_back: gives the label what trust takes from the teacher, and trust is None; '
            f'valid: give_back=False, or one of trust={", ".join(map(repr, FORMS))}'
        )


def estimated(options: dict[str, Any]) -> list[str]:
    """Names of the rule's options that are measured as training goes."""
    return [name for name, value in options.items() if value == ESTIMATED]


def parse_rule(
    rectify: str | dict[str, Any], space: str, eta: float | None
) -> tuple[Rule, dict[str, Any]]:
    """The rule and its options from what the config says; ConfigError if they do not fit."""
    if isinstance(rectify, dict):
        options = dict(rectify)
        name = options.pop('type', None)
    else:
        name, options = rectify, dict[str, Any]()
    if eta is not None:
        options['eta'] = eta
    rule = find_rule(name, space, options)
    if 'eta' in options:
        check_number('eta', options['eta'], above=0, most=1)
    for name in ('label_noise', 'missed'):
        value = options.get(name)
        check_number(f'rectify.{name}', value, above=0, below=1, optional=True, other=(ESTIMATED,))
    return rule, options
