"""Local response normalisation, which AlexNet and GoogLeNet have after their first convolutions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NEIGHBOURS, K, ALPHA = 5, 2.0, 1e-4


class ResponseNorm(nn.Module):
    """Each value over (2 + 1e-4 * the sum of the squares over five neighbouring channels) ** 0.75.

    The constants are AlexNet's (Krizhevsky et al. 2012, section 3.3), where alpha multiplies the sum; Caffe and
    torch.nn.LocalResponseNorm divide it by the number of neighbours first. Torch's pools in three dimensions, which
    is five times slower on a CPU and not there for bf16.
    """

    def forward(self, x_NCHW: Tensor) -> Tensor:
        # In full precision under autocast too: bf16 has no digits left for what alpha adds to k.
        squares = F.pad(x_NCHW.float().square(), (0, 0, 0, 0, NEIGHBOURS // 2, NEIGHBOURS // 2))
        channels = x_NCHW.shape[1]
        neighbours = [squares.narrow(1, start, channels) for start in range(NEIGHBOURS)]
        root = (K + ALPHA * sum(neighbours[1:], start=neighbours[0])).rsqrt()
        return x_NCHW * (root * root.sqrt()).to(x_NCHW.dtype)
