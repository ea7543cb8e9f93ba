"""What MMEngine's environment report says of MMCV's ops."""

from typing import Any

import torch
import torchvision


def get_compiler_version() -> str:
    """Where the ops come from, in place of the compiler's name."""
    return f'none, ops by torchvision {torchvision.__version__}'


def get_compiling_cuda_version() -> Any:
    """CUDA that torchvision was built for, or ``'not available'``, MMCV's word for none."""
    return torch.version.cuda or 'not available'
