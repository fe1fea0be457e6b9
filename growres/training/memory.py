"""Memory that does not suffice: recognised by what PyTorch and Python say of it, and told with what helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from growres.config.experiment import TrialConfig
from growres.errors import OutOfMemoryError

_CPU_ALLOCATOR = "DefaultCPUAllocator: "
# PyTorch has a class of its own for a GPU's caching allocator only. The others: the CPU's allocator, sizes that no
# 64 bits can count, cuBLAS and cuDNN, which allocate for themselves, and C++.
_SAID_OF_MEMORY = (_CPU_ALLOCATOR, "Storage size calculation overflowed", "_STATUS_ALLOC_FAILED", "std::bad_alloc")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that something did not fit into memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _SAID_OF_MEMORY)


@contextmanager
def memory_of(config: TrialConfig) -> Iterator[None]:
    """Inside, what does not fit into memory is this trial's own fault: another attempt would not fit either.

    Raises:
        OutOfMemoryError: in place of what PyTorch or Python raised.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(_explain(error, config)) from error


def _explain(error: BaseException, config: TrialConfig) -> str:
    said = str(error).partition("\n")[0].strip() or type(error).__name__
    said = said[max(0, said.find(_CPU_ALLOCATOR)) :].rstrip(".")  # before it stands a place in PyTorch's source
    gpus = config.resources.gpus_per_trial
    share = (
        f"give each trial more of a GPU (resources.gpus_per_trial is {gpus:g})"
        if gpus
        else "let fewer trials share the machine (resources.max_concurrent_trials)"
    )
    return (
        f"The trial does not fit into memory: {said}. Lower training.batch_size ({config.training.batch_size}), choose "
        f"a smaller model than this {config.model.name}, or {share}; then submit it again."
    )
