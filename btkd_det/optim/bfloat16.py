"""Training in bfloat16 on any device."""

import contextlib

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward passes in bfloat16, on a CPU, too, which MMEngine's ``AmpOptimWrapper`` refuses.

    ``optim_wrapper=dict(type='btkd_det.BFloat16OptimWrapper', optimizer=...)``. Weights and
    gradients stay in float32. bfloat16 has the range of float32, so no loss needs scaling; it is
    faster where the processor has instructions for it (AVX512-BF16, AMX).

    Args:
        *args, **kwargs: As MMEngine's ``OptimWrapper``.
    """

    def optim_context(self, model: nn.Module) -> contextlib.ExitStack:
        """Autocast within MMEngine's own context (of gradient accumulation).

        Args:
            model (nn.Module): On the device that computes.

        Returns:
            contextlib.ExitStack: The context.
        """
        stack = contextlib.ExitStack()
        stack.enter_context(super().optim_context(model))
        device = next(model.parameters()).device.type
        stack.enter_context(torch.autocast(device, torch.bfloat16))
        return stack
