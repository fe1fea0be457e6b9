"""Ten minutes of accidents: `make chaos`, or python -m tests.chaos --minutes 10 --seed 0.

An experiment runs on a Ray cluster of three `ray start` processes with its results in a real PostgreSQL. Meanwhile, at
random, workers, drivers, nodes and the database are killed, taken away and brought back, runs are stopped, and
checkpoints are damaged. In the end every trial must have finished, every row must stand in the store once, and all that
is not a clock's must be what the same experiment gave without any disturbance.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from growres.errors import GrowresError
from growres.store import RunRow, Store, migration
from tests.databases import CANARY, PostgresServer, canaries_below
from tests.jobs.conftest import science
from tests.jobs.ray_nodes import RayNodes

ENDED = ("succeeded", "failed", "stopped", "interrupted")
CALM_S = (4.0, 15.0)
"""Between two accidents."""
RECOVER_WITHIN_S = 240.0
FINISH_WITHIN_S = 1200.0
_TOLD_LATE_S = 1.0
"""What was trained before an accident may reach the store so long after it."""


def experiment(scale: int) -> dict[str, Any]:
    """Six trials: growths with control arms, and networks of fixed depth."""
    growth = {"seed_epochs": 4 * scale, "epochs_per_step": 3 * scale, "control": True, "stop": {"max_blocks": 5}}
    return {
        "name": "chaos",
        "dataset": {"source": "digits", "limit": {"train": 600, "validation": 200, "test": 200}},
        "seeds": [0, 1, 2],
        "training": {"batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}, "augment": ["crop"]},
        "variants": {
            "grown": {
                "procedure": "growth",
                "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 8]},
                "growth": growth,
            },
            "fixed": {"procedure": "end_to_end", "model": {"name": "resnet8"}, "training": {"epochs": 20 * scale}},
        },
        "max_failures": 20,
    }


@dataclass
class Accident:
    what: str
    at_s: float
    recovery_s: float | None = None
    """Until new epochs reached the store again, of the struck trial if it is one; None where that was over before."""


@dataclass
class Scene:
    """Everything that can go wrong."""

    home: Path
    spec: Path
    nodes: RayNodes
    postgres: PostgresServer
    dice: random.Random
    started_at: float = field(default_factory=time.monotonic)
    accidents: list[Accident] = field(default_factory=list)
    experiment_id: str = ""
    struck: str | None = None
    """The trial whose worker was killed by the newest accident."""

    # ------------------------------------------------------------------------------------------------- looking

    def store(self) -> Store:
        return Store.open()

    def run(self) -> RunRow:
        with self.store() as store:
            run = store.runs.newest(self.experiment_id)
        assert run is not None
        return run

    def is_over(self, trial_id: str | None = None) -> bool:
        with self.store() as store:
            trials = store.trials(self.experiment_id)
        return all(trial.status == "succeeded" for trial in trials if trial_id in (None, trial.id))

    def num_epochs(self) -> int:
        """Of the trial that was struck, or of all."""
        with self.store() as store:
            rows = store.progress(self.experiment_id)
        return sum(int(row["epochs"]) for row in rows if self.struck in (None, row["trial_id"]))

    def workers(self) -> dict[str, int]:
        """The processes of the trials that run, by trial."""
        with self.store() as store:
            running = [trial.id for trial in store.trials(self.experiment_id) if trial.status == "running"]
            newest = {trial_id: store.attempts(trial_id)[-1] for trial_id in running}
        return {trial_id: attempt["pid"] for trial_id, attempt in newest.items() if attempt["status"] == "running"}

    def growres(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "growres", *arguments], capture_output=True, text=True)

    # ----------------------------------------------------------------------------------------------- accidents

    def kill_a_worker(self) -> None:
        for trial_id, pid in self._some(self.workers().items()):
            self.struck = trial_id
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def damage_a_checkpoint(self) -> None:
        """Cuts it, or flips a byte, and kills its worker, which then has to go on from the one before."""
        for trial_id, pid in self._some(self.workers().items()):
            self.struck = trial_id
            path = self.home / "runs" / self.experiment_id / trial_id / "checkpoint.pt"
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if path.exists():
                content = bytearray(path.read_bytes())
                if self.dice.random() < 0.5:
                    del content[self.dice.randrange(len(content)) :]
                else:
                    content[self.dice.randrange(len(content))] ^= 1 + self.dice.randrange(255)
                path.write_bytes(content)

    def kill_the_driver(self) -> None:
        run = self.run()
        if run.is_open and run.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGKILL)

    def terminate_the_driver(self) -> None:
        run = self.run()
        if run.is_open and run.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGTERM)

    def stop_it(self) -> None:
        self.growres("stop", self.experiment_id, "--no-wait")

    def stop_it_now(self) -> None:
        self.growres("stop", self.experiment_id, "--now", "--no-wait")

    def take_a_node_away_for_a_while(self) -> None:
        self.nodes.kill(self.dice.choice(self.nodes.nodes[1:]))
        time.sleep(self.dice.uniform(2, 10))
        self.nodes.add_node()

    def restart_the_database(self) -> None:
        self.postgres.stop(self.dice.choice(["fast", "immediate"]))
        self.postgres.start()

    def take_the_database_away_for_a_while(self) -> None:
        self.postgres.stop("immediate")
        time.sleep(self.dice.uniform(10, 60))
        self.postgres.start()

    def _some(self, things: Any) -> list[Any]:
        found = sorted(things)
        return [self.dice.choice(found)] if found else []

    # ------------------------------------------------------------------------------------------------ the play

    def play(self, minutes: float) -> None:
        ends_at = self.started_at + 60 * minutes
        kinds: list[Callable[[], None]] = [
            self.kill_a_worker,
            self.damage_a_checkpoint,
            self.kill_the_driver,
            self.terminate_the_driver,
            self.stop_it,
            self.stop_it_now,
            self.take_a_node_away_for_a_while,
            self.restart_the_database,
            self.take_the_database_away_for_a_while,
        ]
        self.dice.shuffle(kinds)  # each once, then at random
        while time.monotonic() < ends_at and not self.is_over():
            time.sleep(self.dice.uniform(*CALM_S))
            kind = kinds.pop() if kinds else None
            self.suffer(kind or getattr(self, self.dice.choice(ACCIDENTS)))

    def suffer(self, accident: Callable[[], None]) -> None:
        told = Accident(accident.__name__.replace("_", " "), time.monotonic() - self.started_at)
        self.accidents.append(told)
        print(f"{told.at_s:6.0f} s  {told.what}", flush=True)
        began = time.monotonic()
        self.struck = None
        accident()
        time.sleep(_TOLD_LATE_S)
        before = self.num_epochs()
        while not self.is_over(self.struck):
            if self.num_epochs() > before and self._lives(self.run()):
                told.recovery_s = time.monotonic() - began
                print(f"          trains again after {told.recovery_s:.1f} s", flush=True)
                return
            self.go_on()
            assert time.monotonic() - began < RECOVER_WITHIN_S, "it does not recover"
            time.sleep(0.5)

    def go_on(self) -> None:
        """What a person, or a cluster that starts a job again, does when no driver has the experiment any more."""
        with self.store() as store:
            status = store.find_experiment(self.experiment_id).status
        if status not in ENDED and self._lives(self.run()):
            return
        if status == "succeeded":
            return
        done = self.growres("resume", self.experiment_id)
        if done.returncode not in (0, 2):  # 2: a driver has it after all
            print(f"          resume: {done.stderr.strip().splitlines()[-1:]}", flush=True)

    @staticmethod
    def _lives(run: RunRow) -> bool:
        if not run.is_open or run.pid is None:
            return run.is_open
        stat = Path(f"/proc/{run.pid}/stat")
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"

    def finish(self) -> None:
        give_up_at = time.monotonic() + FINISH_WITHIN_S
        while not self.is_over():
            assert time.monotonic() < give_up_at, "it does not finish"
            self.go_on()
            time.sleep(1)
        while self.run().is_open:
            assert time.monotonic() < give_up_at, "its driver does not end"
            time.sleep(1)


ACCIDENTS = (
    "kill_a_worker",
    "damage_a_checkpoint",
    "kill_the_driver",
    "terminate_the_driver",
    "stop_it",
    "stop_it_now",
    "take_a_node_away_for_a_while",
    "restart_the_database",
    "take_the_database_away_for_a_while",
)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def undisturbed(spec: Path, folder: Path) -> dict[str, Any]:
    """What the experiment gives when it is left alone, with the inline driver and SQLite."""
    from jobs.submission import submit

    with environment(GROWRES_HOME=str(folder)):
        return science(submit(spec, backend="inline").experiment_id)


def check(scene: Scene, expected: dict[str, Any]) -> list[str]:
    """What is wrong in the end."""
    problems = []
    with scene.store() as store:
        for trial in store.trials(scene.experiment_id):
            if trial.status != "succeeded":
                problems.append(f"{trial.id} is {trial.status}: {trial.reason}")
            for attempt in store.attempts(trial.id):
                if attempt["status"] == "running":
                    problems.append(f"{trial.id}, attempt {attempt['attempt']} never ended")
        problems += [f"run {run.run} never ended" for run in store.runs.all(scene.experiment_id) if run.is_open]
        status = store.find_experiment(scene.experiment_id).status
    if status != "succeeded":
        problems.append(f"the experiment is {status}")
    found = science(scene.experiment_id)
    for trial_key, rows in expected.items():
        if found.get(trial_key) != rows:
            differing = [pair for pair in zip(rows, found.get(trial_key, []), strict=False) if pair[0] != pair[1]]
            counts = f"{len(rows)} rows undisturbed, {len(found.get(trial_key, []))} here"
            problems.append(f"{trial_key} differs ({counts}); first: {differing[:1]}")
    problems += [f"events still wait in {path}" for path in scene.home.rglob("spool.jsonl")]
    problems += [f"events were refused: {path}" for path in scene.home.rglob("*.rejected")]
    problems += [f"the password stands in {path}" for path in canaries_below(scene.home, scene.nodes.folder)]
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=int, default=10, help="how much there is to train")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="growres-chaos-"))
    spec = folder / "chaos.yaml"
    spec.write_text(yaml.safe_dump(experiment(options.scale), sort_keys=False))
    print(f"seed {options.seed}; first the experiment undisturbed, as the measure", flush=True)
    began = time.monotonic()
    expected = undisturbed(spec, folder / "undisturbed")
    print(f"undisturbed: {time.monotonic() - began:.0f} s", flush=True)
    with PostgresServer(safe=True) as postgres:
        url = postgres.url.set(password=CANARY).render_as_string(hide_password=False)
        home = folder / "home"
        with environment(GROWRES_HOME=str(home), GROWRES_DATABASE_URL=url):
            migration.upgrade()
            nodes = RayNodes({"GROWRES_HOME": str(home), "GROWRES_DATABASE_URL": url})
            try:
                nodes.add_node()
                nodes.add_node()
                os.environ.update(nodes.client_variables)
                scene = Scene(home, spec, nodes, postgres, random.Random(options.seed))
                problems = _play(scene, options.minutes, expected)
                summary = _summary(scene, options.seed)
            finally:
                nodes.close()
    for problem in problems:
        print(f"WRONG: {problem}")
    print(json.dumps(summary, indent=1))
    if problems:
        print(f"everything is kept in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print("every trial finished, every row stands once, and the results are those of the undisturbed run")
    return 0


def _play(scene: Scene, minutes: float, expected: dict[str, Any]) -> list[str]:
    submitted = scene.growres("submit", str(scene.spec), "--backend", "cluster", "--address", scene.nodes.address)
    assert submitted.returncode == 0, submitted.stderr
    scene.experiment_id = submitted.stdout.strip()
    began = time.monotonic()
    while scene.num_epochs() == 0:
        assert time.monotonic() - began < RECOVER_WITHIN_S, scene.growres("logs", scene.experiment_id).stdout
        time.sleep(0.5)
    print(f"submit to first epoch: {time.monotonic() - began:.1f} s", flush=True)
    try:
        scene.play(minutes)
        scene.finish()
    except (AssertionError, GrowresError) as error:
        log = scene.growres("logs", scene.experiment_id).stdout
        return [f"{error}; the driver's log ends: {log[-3000:]}"]
    return check(scene, expected)


def _summary(scene: Scene, seed: int) -> dict[str, Any]:
    recoveries: dict[str, list[float]] = {}
    for accident in scene.accidents:
        recoveries.setdefault(accident.what, [])
        if accident.recovery_s is not None:
            recoveries[accident.what].append(round(accident.recovery_s, 1))
    with suppress(GrowresError), scene.store() as store:
        runs = len(store.runs.all(scene.experiment_id))
        attempts = sum(len(store.attempts(trial.id)) for trial in store.trials(scene.experiment_id))
        return {
            "seed": seed,
            "accidents": len(scene.accidents),
            "runs": runs,
            "attempts": attempts,
            "trains_again_after_s": recoveries,
        }
    return {"seed": seed, "accidents": len(scene.accidents), "trains_again_after_s": recoveries}


if __name__ == "__main__":
    sys.exit(main())
