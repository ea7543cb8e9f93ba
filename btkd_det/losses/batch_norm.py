"""Batch normalization for what a loss learns, down to a single value per channel."""

from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization that takes the running statistics for a single value per channel.

    The deepest map of one small image is of one position, which has no variance: PyTorch refuses
    it in training.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        if self.training and maps.numel() == maps.shape[1]:
            return F.batch_norm(
                maps, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(maps)
