"""What a benchmark hands back, and how two things are measured side by side."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tests.bench.targets import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: programs that a benchmark starts run from here."""

Samples = dict[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the report; its target is the one of its name, and a row without one only informs."""

    name: str
    compares: str
    figure: float
    figure_unit: str
    """'x' for a ratio of ours to theirs."""
    ours: float
    theirs: float | None = None
    unit: str
    """Of `ours` and `theirs`, which are medians."""
    samples: Samples = field(default_factory=dict)
    """What was measured, turn by turn, under its name with its unit."""

    @property
    def target(self) -> Target | None:
        return TARGETS.get(self.name)

    @property
    def missed(self) -> bool:
        return self.target is not None and not self.target.is_met_by(self.figure)


def interleaved(arms: Mapping[str, Callable[[], float]], rounds: int) -> Samples:
    """Every arm once a round; each round in the order opposite to the one before, so that no arm is always first."""
    samples: Samples = {name: [] for name in arms}
    order = list(arms)
    for _ in range(rounds):
        for name in order:
            samples[name].append(arms[name]())
        order.reverse()
    return samples


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the rounds' ratios: what disturbs both sides of a round does not show in it."""
    return statistics.median(above / below for above, below in zip(numerators, denominators, strict=True))


def run_program(arguments: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> float:
    """Wall time in seconds of a program from its start to its end.

    Raises:
        RuntimeError: with its stderr, if it fails.
    """
    started = time.perf_counter()
    done = subprocess.run(
        arguments, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    elapsed_s = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return elapsed_s


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was just before."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average_before": os.getloadavg(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads_by_default": torch.get_num_threads(),
    }


def _cpu_model() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()
