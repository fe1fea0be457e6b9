"""Random streams that are functions of what they are for, so that nothing random has to stand in a checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(*parts: str | int) -> int:
    """A seed in [0, 2**63) that depends on the parts alone, whatever the machine, process or Python version.

    `stream_seed("block", 0, 3)` seeds the weights of the block that trial seed 0 appends in its third growth step.
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(*parts: str | int) -> Iterator[None]:
    """Torch's CPU stream set to these parts' seed inside, and put back as it was afterwards.

    Networks are initialised on the CPU inside it, so that a seed gives the same weights on every device.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(*parts))
        yield
