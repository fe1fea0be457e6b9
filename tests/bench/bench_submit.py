"""`growres submit` for eight trivial trials against the same in bare Ray Tune."""

from __future__ import annotations

import itertools
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from tests.bench.measuring import Row, interleaved, median_ratio, run_program
from tests.bench.trivial_trials import EXPERIMENT, NUM_TRIALS

_BARE_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}


def run(quick: bool) -> list[Row]:
    """Wall time of the two programs from start to end.

    Ours has more to do, and does it within that time: each round has a home of its own, so that the store is made and
    the images are decoded anew; every trial also evaluates three splits and writes checkpoints and rows.
    """
    # Ray puts sockets below its folder, whose paths may have little more than a hundred characters.
    with TemporaryDirectory(prefix="gb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        homes = (Path(folder) / f"home-{number}" for number in itertools.count())
        spec = Path(folder) / "trivial.yaml"
        spec.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
        wall_s = interleaved(
            {
                "ours": lambda: _submit(spec, next(homes)),
                "bare": lambda: _bare(Path(folder)),
            },
            rounds=1 if quick else 3,
        )
    return [
        Row(
            name="submit",
            compares=f"growres submit / bare Ray Tune with fresh actors: {NUM_TRIALS} trivial trials, whole programs",
            figure=median_ratio(wall_s["ours"], wall_s["bare"]),
            figure_unit="x",
            ours=statistics.median(wall_s["ours"]),
            theirs=statistics.median(wall_s["bare"]),
            unit="s",
            samples={f"{name}, wall s": samples for name, samples in wall_s.items()},
        )
    ]


def _submit(spec: Path, home: Path) -> float:
    return run_program(
        [sys.executable, "-m", "growres", "submit", spec, "--json"],
        {"GROWRES_HOME": str(home), "RAY_TMPDIR": str(home.parent)},
    )


def _bare(folder: Path) -> float:
    return run_program(
        [sys.executable, "-m", "tests.bench.bare_tune", folder / "bare"],
        {**_BARE_ENVIRONMENT, "RAY_TMPDIR": str(folder)},
    )
