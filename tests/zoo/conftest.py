from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

A_THOUSAND_LAYERS = ("resnet1001", "resnet1202", "preact_resnet1001")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever is tested of every network: of those of a thousand layers, which take seconds to make, by make slow."""
    for item in items:
        is_ours = item.path.is_relative_to(Path(__file__).parent)
        if is_ours and item.name.partition("[")[2].rstrip("]").startswith(A_THOUSAND_LAYERS):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def seeded_single_thread() -> Iterator[None]:
    """Tiny tensors are quickest on one thread, and every test starts from the same random numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
