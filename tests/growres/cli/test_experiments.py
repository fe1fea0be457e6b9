import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from growres.cli import status
from growres.events import AttemptEnded, AttemptStarted, TrialFinished
from growres.store import NewExperiment, NewTrial, Recorder, Store
from jobs.driver_lock import only_driver

pytestmark = pytest.mark.every_store


def rows_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_an_empty_store_says_how_to_begin(growres):
    answer = growres("list")
    assert (answer.code, answer.out) == (0, "")
    assert "submit digits" in answer.err
    assert growres("list", "--format", "json").json == []


def test_list_counts_the_trials_of_each_experiment(growres, experiment):
    (row,) = growres("list", "--format", "json").json
    assert row["id"] == experiment
    assert row["trials"] == {"succeeded": 2, "failed": 1, "queued": 1}
    assert row["created_at"].endswith("Z")
    assert "1 failed, 1 queued, 2 succeeded" in growres("list").out


def test_status_is_a_headline_over_the_trials(growres, experiment):
    lines = growres("status").out.splitlines()
    assert lines[0].startswith(f"digits ({experiment}): running since ")
    assert lines[0].endswith(" UTC on laptop")
    assert lines[2].split()[:4] == ["trial", "variant", "seed", "status"]
    assert lines[3].startswith(f"{experiment}-1  simons      0  succeeded       3       3")


@pytest.mark.parametrize("reference", ["latest", "digits"])
@pytest.mark.parametrize("command", ["status", "results"])
def test_an_experiment_goes_by_id_name_or_latest(growres, experiment, reference, command):
    by_id = growres(command, experiment, "--format", "json").json
    assert growres(command, reference, "--format", "json").json == by_id
    assert [row["trial_id"] for row in by_id] == [f"{experiment}-{index}" for index in (1, 2, 3, 4)]


@pytest.mark.parametrize("command", ["status", "results", "show"])
def test_a_mistyped_name_is_a_message_with_the_nearest(growres, experiment, command):
    answer = growres(command, "digtis-1" if command == "show" else "digtis")
    assert answer.code == 2
    assert "'digits'" in answer.err and "Traceback" not in answer.err
    assert answer.out == ""


def test_results_are_percentages_for_people_and_fractions_for_programs(growres, experiment):
    table = growres("results").out.splitlines()
    assert "2.09%       2.49%   51.2k       3   1.2 TFLOP  1m 02s  succeeded" in table[1]
    best = growres("results", "--format", "json").json[0]
    assert (best["val_error"], best["num_params"], best["train_flops"]) == (0.0209, 51_234, 1_234_567_890_123)
    first = next(csv.DictReader(io.StringIO(growres("results", "--format", "csv").out)))
    assert float(first["test_error"]) == best["test_error"]
    assert list(first) == list(best)


def test_a_table_in_a_pipe_is_aligned_and_whole(growres, experiment):
    lines = growres("results").out.splitlines()
    column = lines[0].index("reason")
    assert lines[1][column:] == "patience: the last 1 proposals were not accepted"
    assert lines[3][column:] == "the loss became NaN \\x1b[31mat step 3 | lr 9.0"


def test_results_by_variant_have_mean_deviation_and_n(growres, experiment):
    answer = growres("results", "--by", "variant", "--format", "md")
    heading, _, simons, lenet5 = rows_of(answer.out)
    cells = dict(zip(heading, simons, strict=True))
    assert (cells["val error"], cells["test error"], cells["n"]) == ("2.61% +- 0.74", "3.01% +- 0.74", "2")
    assert dict(zip(heading, lenet5, strict=True))["failed"] == "1"  # what failed stands last
    raw = growres("results", "--by", "variant", "--format", "json").json
    assert raw[0]["val_error"] == pytest.approx(0.0261)


@pytest.mark.parametrize("by", ["trial", "variant"])
def test_results_stand_by_validation_error_whatever_the_test_error_says(growres, home, by):
    errors = {"a": (0.3, 0.1), "b": (0.1, 0.3), "c": None}  # validation and test; c has not begun
    trials = tuple(
        NewTrial(variant=variant, seed=seed, procedure="end_to_end", model="lenet5", config={})
        for variant in errors
        for seed in (0, 1)
    )
    recorder = Recorder(None, home / "spool.jsonl")
    with Store.open() as store:
        experiment_id = store.add_experiment(NewExperiment(name="e", spec_text="", spec={}, trials=trials))
        for trial in store.trials(experiment_id):
            if of_variant := errors[trial.variant]:
                recorder.record(trial.id, 1, AttemptStarted(host="laptop", device="cpu", pid=1))
                recorder.record(trial.id, 1, finished(*of_variant))
    recorder.close()
    rows = growres("results", "--by", by, "--format", "json").json
    assert list(dict.fromkeys(row["variant"] for row in rows)) == ["b", "a", "c"]
    heading, _, first, *_ = rows_of(growres("results", "--by", by, "--format", "md").out)
    assert first[heading.index("variant")] == "b"


def finished(val_error, test_error):
    return TrialFinished(
        val_error=val_error,
        test_error=test_error,
        num_params=1000,
        num_blocks=None,
        train_flops=10**9,
        epochs=1,
        wall_s=1.0,
        reason="done",
        architecture={"name": "lenet5"},
    )


def test_markdown_rows_all_have_the_columns_of_the_heading(growres, experiment):
    rows = rows_of(growres("results", "--format", "md").out.replace("\\|", "/"))
    assert len({len(row) for row in rows}) == 1
    assert len(rows) == 2 + 4


def test_show_tells_result_growth_steps_and_architecture(growres, experiment):
    answer = growres("show", "latest-1")
    assert "architecture   preact_resnet, blocks 2 1, widths 16 32, block basic" in answer.out
    assert "zero_branch       8.00%       2.09%  accepted   51.2k" in answer.out
    assert "zero_branch       2.09%       9.00%  rejected" in answer.out
    assert "checkpoint  x/checkpoint.pt  120.6 KiB" in answer.out


def test_show_as_json_is_one_object(growres, experiment):
    trial = growres("show", f"{experiment}-1", "--format", "json").json
    assert trial["architecture"]["blocks"] == [2, 1]
    assert [step["verdict"] for step in trial["growth_steps"]] == ["accepted", "rejected"]
    assert trial["attempts"][0]["status"] == "succeeded"
    assert trial["artifacts"][0]["num_bytes"] == 123_456


def test_stored_control_characters_never_reach_a_terminal(growres, experiment):
    for arguments in (["status"], ["results"], ["show", "latest-3"], ["query", "select reason from trial"]):
        for output in ("table", "md"):
            answer = growres(*arguments, "--format", output)
            assert "\x1b" not in answer.out + answer.err
            assert "x1b[31m" in answer.out


def test_a_sweep_point_gets_a_column_where_there_is_one(growres, home):
    config = {"sweep_point": {"training.optimizer.lr": 0.05}, "model": {"name": "lenet5"}}
    trial = NewTrial(variant="lenet5", seed=0, procedure="end_to_end", model="lenet5", config=config)
    with Store.open() as store:
        store.add_experiment(NewExperiment(name="sweep", spec_text="", spec={}, trials=(trial,)))
    assert "lr=0.05" in growres("results").out
    assert "lr=0.05" in growres("results", "--by", "variant").out


def test_watching_in_a_pipe_prints_a_line_when_something_changed(growres, experiment, home, monkeypatch):
    def next_second(_: float) -> None:
        recorder = Recorder(None, home / "spool.jsonl")
        recorder.record(f"{experiment}-4", 1, AttemptStarted(host="laptop", device="cpu", pid=1))
        recorder.record(f"{experiment}-4", 1, AttemptEnded(status="succeeded", reason="trained 3 epochs"))
        recorder.close()
        with Store.open() as store:
            store.finish_experiment(experiment)

    monkeypatch.setattr(status.time, "sleep", next_second)
    lines = growres("status", "--watch").out.splitlines()
    assert lines[0].startswith(f"digits ({experiment}): running")
    assert len(lines) == 5 + 2
    assert lines[5].startswith(f"digits ({experiment}): failed")
    assert lines[6] == f"{experiment}-4 lenet5, seed 1: succeeded, trained 3 epochs"


@pytest.fixture
def running_here(home):
    """The id of an experiment that is run on this machine by a process that is no more, and its run folder."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with Store.open() as store:
        experiment_id = store.add_experiment(NewExperiment(name="here", spec_text="", spec={}, trials=()))
        store.runs.claim(experiment_id, backend="local")
        store.runs.begin(experiment_id, 1, host=socket.gethostname(), pid=ended.pid)
    return experiment_id, home / "runs" / experiment_id


def test_an_experiment_whose_driver_died_is_stale_and_ends_the_watch(growres, running_here):
    experiment_id, folder = running_here
    for ran_once in (False, True):
        if ran_once:
            with only_driver(folder, experiment_id):
                pass
        for arguments in (["list"], ["status"], ["status", "--watch"], ["status", "--format", "json"]):
            answer = growres(*arguments)
            assert answer.code == 0
            assert answer.err.count("its driver is gone") == 1
            assert f"growres resume {experiment_id}" in answer.err
            assert "driver" not in answer.out
            assert ("stale" in answer.out) == ("json" not in arguments)


def test_nothing_is_said_of_a_driver_that_lives_or_is_on_another_machine(growres, running_here, monkeypatch):
    with Store.open() as store:
        mine = store.add_experiment(NewExperiment(name="mine", spec_text="", spec={}, trials=()))
        store.runs.claim(mine, backend="local")
        store.runs.begin(mine, 1, host=socket.gethostname(), pid=os.getpid())
    assert growres("status", mine).err == ""
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert growres("status", running_here[0]).err == ""


@pytest.mark.parametrize("backend", ["local", "inline"])
def test_while_ray_starts_status_and_dashboard_say_so(growres, backend):
    trial = NewTrial(variant="v", seed=0, procedure="growth", model="resnet", config={})
    with Store.open() as store:
        experiment_id = store.add_experiment(NewExperiment(name="new", spec_text="", spec={}, trials=(trial,)))
        store.runs.claim(experiment_id, backend=backend)
        store.runs.begin(experiment_id, 1, host=socket.gethostname(), pid=os.getpid())
        store.set_experiment_status(experiment_id, "running")
    assert ("its Ray is starting" in growres("status").out) == (backend == "local")
    asked = growres("dashboard", "new")
    assert asked.code == 2 and ("is still starting" in asked.err) == (backend == "local")
    with Store.open() as store:
        store.mark_trial(f"{experiment_id}-1", "running")
    assert "starting" not in growres("status").out


def test_leaving_a_watch_with_ctrl_c_is_quiet(experiment):
    code = "import sys; from growres.cli.app import main; sys.exit(main(['status', '--watch']))"
    watch = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    assert watch.stdout is not None
    assert "running" in watch.stdout.readline()
    time.sleep(0.2)
    watch.send_signal(signal.SIGINT)
    _, errors = watch.communicate(timeout=20)
    assert (watch.returncode, errors) == (0, "")


def test_json_documents_parse_in_every_listing(growres, finished_experiment):
    for arguments in (["list"], ["status"], ["results"], ["results", "--by", "variant"], ["show", "latest-1"]):
        json.loads(growres(*arguments, "--format", "json").out)


@pytest.mark.parametrize(
    ("arguments", "left_out"),
    [
        (("list",), "host"),
        (("results",), "time"),
        (("results", "--by", "variant"), "time"),
        (("show", "latest-1"), "reason"),
        (("query", "SELECT variant, reason FROM trial"), "reason"),
    ],
)
def test_on_a_narrow_terminal_it_is_said_what_was_left_out(
    growres, experiment, on_a_terminal, capsys, arguments, left_out
):
    capsys.readouterr()
    on_a_terminal(40, *arguments)
    [line, *_] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Cut or left out here: ")]
    assert left_out in line and line.endswith("; --format md, or a pipe, has all.")
    assert "left out here" not in growres(*arguments).err
