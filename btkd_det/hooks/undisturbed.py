"""Work beside a training that leaves no trace in it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ..sites.probe import undisturbed_rng


@contextlib.contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Within this context a model is in eval mode and gradients are off.

    Args:
        model (nn.Module): The mode of each of its modules, and the random generators of the CPU
            and of the device in use, are afterwards what they were.
    """
    # One by one: train() of a model may set modes that are not those of this training.
    modes = [(module, module.training) for module in model.modules()]
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    model.eval()
    try:
        with undisturbed_rng(), torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode
