"""The non-local block, by which FBKD compares how positions relate."""

from typing import cast

import torch
from torch import Tensor, nn

from .batch_norm import BatchNorm


class NonLocal(nn.Module):
    """Each position gets a part of every other, by the dot product of their embeddings.

    Source: Non-local Neural Networks (Wang et al., CVPR 2018), equations 1, 4 and 6, in the form
    of FBKD: keys and values are max-pooled, and a batch normalization that starts at 0 ends it.

    Args:
        channels (int): C.
        reduction (int): Embeddings have C / reduction channels.
        pool (int): Side of the squares over which keys and values are pooled.
    """

    def __init__(self, channels: int, reduction: int = 2, pool: int = 2) -> None:
        super().__init__()
        middle = max(channels // reduction, 1)
        self.pool = pool
        self.value = nn.Conv2d(channels, middle, kernel_size=1)
        self.query = nn.Conv2d(channels, middle, kernel_size=1)
        self.key = nn.Conv2d(channels, middle, kernel_size=1)
        self.out = nn.Conv2d(middle, channels, kernel_size=1, bias=False)
        self.norm = BatchNorm(channels)
        for part in (self.value, self.query, self.key):
            nn.init.normal_(part.weight, std=0.01)
            nn.init.constant_(cast(Tensor, part.bias), 0)
        nn.init.zeros_(self.norm.weight)

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        # A map smaller than the square is pooled as a whole.
        size = min(self.pool, maps.shape[2]), min(self.pool, maps.shape[3])
        pooled = [
            nn.functional.max_pool2d(part(maps), size).flatten(2) for part in (self.key, self.value)
        ]
        key, value = pooled
        query = self.query(maps).flatten(2)
        weights = torch.einsum('ncp,ncq->npq', query, key) / key.shape[2]
        mixed = torch.einsum('npq,ncq->ncp', weights, value)
        return maps + self.norm(self.out(mixed.unflatten(2, maps.shape[2:])))
