"""Two trials on two cores: our defaults against the script that everybody writes."""

from __future__ import annotations

import os
import statistics
from contextlib import ExitStack
from functools import partial

from jobs.cluster import ALLOCATOR_ENVIRONMENT
from tests.bench.measuring import Row, Samples, interleaved, median_ratio
from tests.bench.sparring import Pair

_OURS = "our defaults"
_USUAL = {f"the usual script, num_workers={number}": number for number in (0, 2)}
_ONE_THREAD = "the usual script, num_workers=0, 1 thread"


def run(quick: bool) -> list[Row]:
    """Images a second of both trials together, wall time, start-up and warm-up left out.

    The same network, batch size, optimiser and augmentation on both sides. The usual script is measured with and
    without loader workers, and we are compared with the faster of the two. Wall time, not CPU time: what is lost where
    too many threads wait for each other does not show in CPU time alone. A second row tells how much of the gain is
    left for somebody who has already limited the usual script to one thread.
    """
    seconds, rounds = (5.0, 2) if quick else (10.0, 3)
    plain = {name: value for name, value in os.environ.items() if name not in ALLOCATOR_ENVIRONMENT}
    rates = _train_in_turns(plain, seconds, rounds)
    fastest = max(_USUAL, key=lambda name: statistics.median(rates[name]))
    return [
        Row(
            name=name,
            compares=f"two trials of ResNet-20 at once: our defaults / {usual}",
            figure=median_ratio(rates[_OURS], rates[usual]),
            figure_unit="x",
            ours=statistics.median(rates[_OURS]),
            theirs=statistics.median(rates[usual]),
            unit="images/s",
            samples={f"{arm}, images/s": samples for arm, samples in rates.items()},
        )
        for name, usual in (("defaults", fastest), ("defaults, threads aside", _ONE_THREAD))
    ]


def _train_in_turns(plain: dict[str, str], seconds: float, rounds: int) -> Samples:
    """All pairs stand ready the whole time; those whose turn it is not wait on a pipe and use no CPU."""
    with ExitStack() as stack:

        def start(program: str, *arguments: str, **environment: str) -> Pair:
            return stack.enter_context(Pair(f"tests.bench.{program}", *arguments, environment=plain | environment))

        pairs = {_OURS: start("our_defaults", **ALLOCATOR_ENVIRONMENT)}
        pairs |= {name: start("usual_script", str(number)) for name, number in _USUAL.items()}
        pairs[_ONE_THREAD] = start("usual_script", "0", OMP_NUM_THREADS="1")
        return interleaved({name: partial(pair.train_for, seconds) for name, pair in pairs.items()}, rounds)
