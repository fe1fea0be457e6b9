"""How long a person waits for `growres --help`, and for the results of a large experiment."""

from __future__ import annotations

import statistics
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from growres.store import Recorder
from tests.bench.measuring import Row, interleaved, run_program
from tests.bench.stored import new_store, whole_trial

_NUM_TRIALS = 1_000
_NUM_VARIANTS = 10
_NUM_EPOCHS = 200


def run_help(quick: bool) -> list[Row]:
    """Wall time of the whole program."""
    run_program([sys.executable, "-m", "growres", "--help"])  # fills the page cache
    wall_s = interleaved(
        {
            "growres --help": partial(run_program, [_growres(), "--help"]),
            "python -c pass": partial(run_program, [sys.executable, "-c", "pass"]),
        },
        rounds=3 if quick else 7,
    )
    return [
        Row(
            name="help",
            compares="growres --help (beside it: python -c pass)",
            figure=statistics.median(wall_s["growres --help"]),
            figure_unit="s",
            ours=statistics.median(wall_s["growres --help"]),
            theirs=statistics.median(wall_s["python -c pass"]),
            unit="s",
            samples={f"{name}, wall s": samples for name, samples in wall_s.items()},
        )
    ]


def run_results(quick: bool) -> list[Row]:
    """Wall time of the whole program beyond that of an interpreter that does nothing."""
    with TemporaryDirectory() as folder:
        environment = {"GROWRES_DATABASE_URL": _fill_store(Path(folder)), "GROWRES_HOME": folder}
        programs: dict[str, list[str | Path]] = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "results --by trial": [_growres(), "results", "latest", "--by", "trial"],
            "results --by variant": [_growres(), "results", "latest", "--by", "variant"],
        }
        arms = {name: partial(run_program, program, environment) for name, program in programs.items()}
        interleaved(arms, rounds=1)
        wall_s = interleaved(arms, rounds=3 if quick else 5)
    interpreter_s = statistics.median(wall_s["python -c pass"])
    return [
        Row(
            name=name,
            compares=f"growres {name} of {_NUM_TRIALS:,} trials of {_NUM_EPOCHS} epochs - python -c pass",
            figure=statistics.median(wall_s[name]) - interpreter_s,
            figure_unit="s",
            ours=statistics.median(wall_s[name]),
            theirs=interpreter_s,
            unit="s",
            samples={f"{arm}, wall s": wall_s[arm] for arm in (name, "python -c pass")},
        )
        for name in programs
        if name.startswith("results")
    ]


def _fill_store(folder: Path) -> str:
    """Through the recorder, so that the rows are those of real trials."""
    url, trial_ids = new_store(folder, _NUM_TRIALS, _NUM_VARIANTS)
    with closing(Recorder(url, folder / "spool.jsonl")) as recorder:
        for index, trial_id in enumerate(trial_ids):
            for event in whole_trial(index, _NUM_EPOCHS):
                recorder.record(trial_id, 1, event)
        assert not recorder.degraded
    return url


def _growres() -> Path:
    """The command as pip installed it."""
    return Path(sys.executable).with_name("growres")
