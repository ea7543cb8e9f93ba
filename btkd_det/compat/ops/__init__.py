"""The functions of ``mmcv._ext`` that torchvision and PyTorch can serve.

Names, arguments and results written in place are those of MMCV's extension module, because
``mmcv.ops`` calls them. Every function takes CPU and CUDA tensors in float64, float32, float16
and bfloat16; the half types are computed in float32.
"""

from .boxes import bbox_overlaps
from .build_info import get_compiler_version, get_compiling_cuda_version
from .deform_attention import ms_deform_attn_backward, ms_deform_attn_forward
from .deform_conv import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .nms import nms, nms_match, softnms
from .roi_align import roi_align_backward, roi_align_forward

__all__ = [
    'bbox_overlaps',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'roi_align_backward',
    'roi_align_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
]
