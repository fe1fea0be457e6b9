"""A program that trains for as long as it is told, so that several can train at the same moment.

It prints `ready` when it is warm. Then for each line with a number of seconds on stdin it trains that long, finishes
the step it is in, and answers with its images a second.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Self, TypeVar

from tests.bench.measuring import ROOT

_Batch = TypeVar("_Batch")
_NUM_TRIALS = 2

TrainFor = Callable[[float], int]
"""Trains until a number of seconds has passed; returns the number of images."""


def serve(train_for: TrainFor) -> None:
    """The program's side."""
    train_for(0.0)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        num_images = train_for(float(line))
        print(num_images / (time.perf_counter() - started), flush=True)


def for_seconds(batches: Iterable[_Batch], seconds: float) -> Iterator[_Batch]:
    """The first batch, and more until the time is over."""
    deadline = time.perf_counter() + seconds
    for batch in batches:
        yield batch
        if time.perf_counter() >= deadline:
            return


class Pair:
    """Two processes of one program, warm, that train at the same moment when they are told to and else sleep."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        self._members = [
            subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(_NUM_TRIALS)
        ]
        for member in self._members:
            _answer(member)

    def train_for(self, seconds: float) -> float:
        """Images a second of both together."""
        for member in self._members:
            assert member.stdin is not None
            member.stdin.write(f"{seconds}\n")
            member.stdin.flush()
        return sum(float(_answer(member)) for member in self._members)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            member.communicate()  # closes its stdin, which ends it


def _answer(member: subprocess.Popen[str]) -> str:
    assert member.stdout is not None
    line = member.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"{member.args!r} ended with {member.wait()}")
    return line
