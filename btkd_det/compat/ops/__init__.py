"""The functions of ``mmcv._ext`` that torchvision and PyTorch can serve.

Names, arguments and results written in place are those of MMCV's extension module, because
``mmcv.ops`` calls them. Every function takes CPU and CUDA tensors in float64, float32, float16
and bfloat16; the half types are computed in float32.
"""

from .focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from .nms import nms
from .roi_align import roi_align_backward, roi_align_forward

__all__ = [
    'nms',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
]
