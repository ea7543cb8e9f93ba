"""What the options of BTKDLoss may be, and how they go together."""

from ..bias.rules import find_rule
from ..errors import ConfigError
from ..registry import unwritten
from .trust import FORMS

JUDGES = ('class', 'class_and_box', 'object')
TRUSTS = (None, *FORMS)
#: A rate of the rule that is measured as training goes.
ESTIMATED = 'estimated'


def check_host(host, space):
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


def check_give_back(give_back, trust):
    """Raise a ConfigError where nothing is taken that could be given back."""
    if give_back and trust is None:
        raise ConfigError(
            'give_back: gives the label what trust takes from the teacher, and trust is None; '
            f'valid: give_back=False, or one of trust={", ".join(map(repr, FORMS))}'
        )


def estimated(options):
    """Names of the rule's options that are measured as training goes."""
    return [name for name, value in options.items() if value == ESTIMATED]


def check_choice(field, value, valid):
    if value not in valid:
        raise ConfigError(f'{field}: unknown value {value!r}; valid: {", ".join(map(str, valid))}')


def parse_rule(rectify, space, eta):
    """The rule and its options from what the config says; ConfigError if they do not fit."""
    if isinstance(rectify, dict):
        options = dict(rectify)
        name = options.pop('type', None)
    else:
        name, options = rectify, {}
    if eta is not None:
        options['eta'] = eta
    rule = find_rule(name, space, options)
    if 'eta' in options and not (
        isinstance(options['eta'], (int, float)) and 0 < options['eta'] <= 1
    ):
        raise ConfigError(f'eta: got {options["eta"]!r}; valid: above 0, at most 1')
    for field in ('label_noise', 'missed'):
        value = options.get(field)
        if value is None or value == ESTIMATED:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
            raise ConfigError(
                f'rectify.{field}: got {value!r}; valid: above 0 and below 1, or {ESTIMATED!r}'
            )
    return rule, options
