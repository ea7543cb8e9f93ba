"""How far is the training? Read from MMEngine's message hub, or told by the caller."""

from typing import Any

import torch
from mmengine.logging import MessageHub

from .checks import check_number


class set_progress:
    """Tell the losses how far a training is that no MMEngine runner drives.

    It holds from the call on, or with ``with`` until the end of the context. What a loss is
    called with, ``progress=e / E``, wins over it. Between it and a runner the last to speak wins:
    a runner that goes on to another iteration knows better than what a notebook said before it,
    and what a runner left behind that has finished is not asked once a loop of one's own speaks.

    Args:
        share (float | None): The share e / E of the training that is done, from 0 to 1; ``None``
            takes back what was said.

    Raises:
        ConfigError: It is no such number.
    """

    _current = None

    def __init__(self, share: float | None) -> None:
        check_number('set_progress', share, least=0, most=1, optional=True)
        self._before = set_progress._current
        given = None if share is None else (float(share), _last_of_runner())
        set_progress._current = given

    def __enter__(self) -> 'set_progress':
        return self

    def __exit__(self, *error: Any) -> None:
        set_progress._current = self._before


@torch.compiler.disable
def known_progress() -> float | None:
    """The share e / E of the training that is done, where anyone tells it.

    Returns:
        float | None: What :func:`set_progress` was told, unless a runner has gone on since; else
        the runner's; None without either.
    """
    given, last = set_progress._current, _last_of_runner()
    if given is not None and given[1] == last:
        return given[0]
    _, iteration, max_iters = last
    if iteration is None or not max_iters:
        return None
    return min(max(iteration / max_iters, 0.0), 1.0)


def _last_of_runner() -> tuple:
    """The newest runner, its iteration, and how many it has; None for each that is not known."""
    hub = MessageHub.get_current_instance()
    return (hub.instance_name, *runner_info('iter', 'max_iters'))


def training_progress() -> float:
    """The share e / E of the training that is done, counted in iterations.

    MMEngine's train loops write ``iter`` and ``max_iters`` into the current message hub before
    each iteration. Both count batches, so the ratio also holds where an optimizer wrapper
    accumulates gradients over several of them. Elsewhere :func:`set_progress` tells it.

    Returns:
        float: From 0 in the first iteration to just under 1 in the last.

    Raises:
        RuntimeError: Nobody tells.
    """
    progress = known_progress()
    if progress is None:
        raise RuntimeError(
            'progress: not given, and no MMEngine runner is training that could tell it '
            '(the current message hub has no "iter" and "max_iters"). In a training loop of your '
            'own call btkd_det.set_progress(e / E), a number from 0 to 1, before each step; or '
            'call the loss with progress=e / E, or use a loss with schedule="none"'
        )
    return progress


def current_iteration() -> int | None:
    """Iterations done so far by the runner that trains, or None without one."""
    return runner_info('iter')[0]


class StepCount:
    """Numbers the steps of a model: a runner's iterations, so that a resumed one goes on alike.

    What calls the model several times in an iteration, and a training loop of one's own, count
    on from there.
    """

    def __init__(self) -> None:
        self._step = -1
        self._iteration: int | None = None

    def next(self) -> int:
        """The number of the step that begins, from 0."""
        iteration = current_iteration()
        if iteration is None or iteration == self._iteration:
            self._step += 1
        else:
            self._step = self._iteration = iteration
        return self._step


def iterations_per_epoch() -> int | None:
    """Iterations of one epoch of the runner that trains, or None where epochs are unknown.

    Returns:
        int | None: ``max_iters / max_epochs``, rounded; None without a runner. Training that
        counts iterations alone is one epoch to MMEngine.
    """
    max_iters, max_epochs = runner_info('max_iters', 'max_epochs')
    if not max_iters or not max_epochs:
        return None
    return max(round(max_iters / max_epochs), 1)


@torch.compiler.disable
def runner_info(*keys: str) -> tuple:
    """Values of the current message hub, None for each that it does not have.

    Reading it takes a lock, which no compiled graph can hold: the graph breaks here.

    The hub is the one of the runner built last; those of earlier runs in the same process
    stay alive and are not read.

    Args:
        *keys (str): Such as ``'iter'``.

    Returns:
        tuple: One value per key.
    """
    hub = MessageHub.get_current_instance()
    return tuple([hub.get_info(key) for key in keys])


def forget_logged(prefix: str, kept: str | None = None) -> None:
    """Take training's entries out of the log that get no new values any more.

    MMEngine's log repeats the last value of whatever was logged once.

    Args:
        prefix (str): Of the entries' names, such as ``'distill.fpn.'``.
        kept (str, optional): A name that stays.
    """
    scalars = MessageHub.get_current_instance().log_scalars
    for key in [key for key in scalars if key.startswith(f'train/{prefix}')]:
        if key != f'train/{kept}':
            del scalars[key]
