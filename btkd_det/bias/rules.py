"""Rules of correction: how one is registered and found.

A rule is one function. It sees every row and :func:`~btkd_det.bias.rectify` keeps what it gives for
the wrong ones::

    from btkd_det.bias import register_rule


    @register_rule('label_first', spaces=('logits',), pair=True)
    def label_first(label_value, top_value, margin=1.0):
        return top_value + margin, top_value
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..checks import check_choice
from ..errors import ConfigError

SPACES = ('logits', 'probs')

RULES: dict[str, 'Rule'] = {}


@dataclass(frozen=True)
class Rule:
    """A registered rule of correction; see :func:`register_rule`."""

    name: str
    function: Callable
    spaces: tuple
    pair: bool
    keeps_right: bool
    drops_wrong: bool

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the keyword arguments that the rule takes beside its tensors."""
        tensors = 2 if self.pair else 3
        return tuple(inspect.signature(self.function).parameters)[tensors:]


def register_rule(
    name: str,
    spaces: tuple[str, ...] = SPACES,
    pair: bool = False,
    keeps_right: bool = False,
    drops_wrong: bool = False,
) -> Callable:
    """Register a rule of correction under ``name``.

    Args:
        name (str): What ``rectify`` and ``BTKDLoss`` call it.
        spaces (tuple[str]): Where it makes sense: ``'logits'``, ``'probs'`` or both.
        pair (bool): True for a rule that changes the label's and the chosen class's entry
            only: the function is ``rule(label_value, top_value, **options)``, two (N,)
            tensors in, the two new ones out. False, the default:
            ``rule(teacher, labels, predicted, **options)`` with (N, C), (N,), (N,), and
            (N, C) out.
        keeps_right (bool): The function by itself gives back bit for bit every row whose
            ``predicted`` is its label, so that nothing has to be masked; only for speed.
            Defaults to False.
        drops_wrong (bool): A loss gives the wrong rows the weight 0. Defaults to False.

    Returns:
        Callable: The decorator; it gives the function back unchanged.

    Raises:
        ConfigError: The name is taken by another function, or a space is unknown.

    Examples:
        >>> import torch
        >>> from btkd_det.bias import rectify, register_rule
        >>> @register_rule('even', pair=True)
        ... def even(label_value, top_value):
        ...     middle = (label_value + top_value) / 2
        ...     return middle, middle
        >>> rectify(torch.tensor([[3.0, 0.0, 1.0]]), torch.tensor([2]), 'even')
        tensor([[2., 0., 2.]])
    """
    for space in spaces:
        check_choice('spaces', space, SPACES)

    def register(function: Callable) -> Callable:
        taken = RULES.get(name)
        if taken is not None and _origin(taken.function) != _origin(function):
            raise ConfigError(
                f'rule: the name {name!r} is taken by {_described(taken.function)}; valid: another '
                f'name for {_described(function)}'
            )
        RULES[name] = Rule(name, function, tuple(spaces), pair, keeps_right, drops_wrong)
        return function

    return register


def _origin(function: Callable) -> tuple[str, int | None]:
    """Where a function is defined: a module that is imported again replaces its own rules."""
    name = _described(function)
    # Functions in functions, and those without a name, may share theirs.
    code = getattr(function, '__code__', None) if '<' in name else None
    return name, code and code.co_firstlineno


def _described(function: Callable) -> str:
    name = getattr(function, '__qualname__', None)
    return repr(function) if name is None else f'{function.__module__}.{name}'


def find_rule(name: str, space: str, options: Iterable[str] = ()) -> Rule:
    """The rule of that name, checked against the space and the options.

    Args:
        name (str): A registered rule.
        space (str): ``'logits'`` or ``'probs'``.
        options (Iterable[str]): Names of the options that it will be called with.

    Returns:
        Rule: The rule.

    Raises:
        ConfigError: See :func:`rectify`.
    """
    check_choice('space', space, SPACES)
    check_choice('rectify', name, RULES, 'rule')
    rule = RULES[name]
    if space not in rule.spaces:
        raise ConfigError(
            f'space: rule {name!r} is not defined on {space!r}; valid: {", ".join(rule.spaces)}'
        )
    for option in options:
        if option not in rule.options:
            valid = ', '.join(rule.options) or 'none'
            raise ConfigError(f'{option}: rule {name!r} has no such option; its options: {valid}')
    return rule
