"""`compile: block`: one compiled graph for each shape of block, so that an appended block of a known shape is free."""

from __future__ import annotations

import torch
from torch import nn

# All blocks share one code object, and each (stage, width, stride, train or eval) is an entry of its own. Past torch's
# default of 8 entries it would fall back to eager with no more than a warning.
_RECOMPILE_LIMIT = 64


def compile_blocks(network: nn.Module) -> None:
    """Compiles each residual block in place; a network without stages, such as LeNet-5, is left as it is.

    A copy of a network is not compiled, so this is called for each grown copy; torch finds the compiled code again.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _RECOMPILE_LIMIT)
    for stage in getattr(network, "stages", []):
        for block in stage:
            block.compile()
