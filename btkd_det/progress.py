"""How far is the training? Read from MMEngine's message hub, or told by the caller."""

import torch
from mmengine.logging import MessageHub


def training_progress():
    """The share e / E of the training that is done, counted in iterations.

    MMEngine's train loops write ``iter`` and ``max_iters`` into the current message hub before
    each iteration. Both count batches, so the ratio also holds where an optimizer wrapper
    accumulates gradients over several of them.

    Returns:
        float: From 0 in the first iteration to just under 1 in the last.

    Raises:
        RuntimeError: No runner is training and so nothing is known.
    """
    iteration, max_iters = runner_info('iter', 'max_iters')
    if iteration is None or not max_iters:
        raise RuntimeError(
            'progress: not given, and no MMEngine runner is training that could tell it '
            '(the current message hub has no "iter" and "max_iters"). Call the loss with '
            'progress=e / E, a number from 0 to 1, or use a loss with schedule="none"'
        )
    return min(max(iteration / max_iters, 0.0), 1.0)


def current_iteration():
    """Iterations done so far by the runner that trains, or None without one."""
    return runner_info('iter')[0]


def iterations_per_epoch():
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
def runner_info(*keys):
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
    return tuple(hub.get_info(key) for key in keys)


def forget_logged(prefix, kept=None):
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
