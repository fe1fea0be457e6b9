"""Submitting for real, inline: small growths on digits."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from growres.store.database import resolve

SPEC = """\
name: tiny
dataset: {source: digits, limit: {train: 100, validation: 50, test: 50}}
training: {epochs: 1, batch_size: 50, optimizer: {name: sgd, lr: 0.05}}
variants:
  simons:
    procedure: growth
    model: {name: preact_resnet, blocks: [1], widths: [4]}
    growth: {seed_epochs: 1, epochs_per_step: 1, stop: {max_epochs: 2}}
  resnet:
    procedure: end_to_end
    model: {name: resnet, blocks: [1], widths: [4]}
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return str(path)


def test_a_run_ends_with_tables_on_stdout_and_talk_on_stderr(growres, spec, home):
    answer = growres("submit", spec, "--backend", "inline")
    assert answer.code == 0, answer.err
    leaderboard, growth_steps = answer.out.split("\n\n")
    assert len(leaderboard.splitlines()) == 1 + 2
    assert growth_steps.split()[:2] == ["step", "stage"]
    assert len(growth_steps.splitlines()) == 1 + 1
    assert f"Database: {resolve(None).for_people.removeprefix('sqlite:///')}\n" in answer.err
    tried = [line.strip() for line in answer.err.split("Try next:")[1].splitlines() if line.strip()]
    assert len(tried) == 3
    assert all(line.startswith(f"GROWRES_HOME={home} growres ") for line in tried)


def test_json_is_one_object_with_the_trials(growres, spec):
    answer = growres("submit", spec, "--backend", "inline", "--json")
    assert answer.code == 0
    assert set(answer.json) >= {"experiment", "status", "database", "trials"}
    assert answer.json["status"] == "succeeded"
    assert [trial["variant"] for trial in answer.json["trials"]] != []


def test_failed_trials_are_exit_code_1_with_a_way_on(growres, spec):
    # A learning rate that no float survives.
    answer = growres("submit", spec, "--backend", "inline", "--set", "training.optimizer.lr=1e30")
    assert answer.code == 1
    assert "failed" in answer.out
    assert "retry" in answer.err and "--failed" in answer.err
    assert "Traceback" not in answer.err


def test_ctrl_c_is_exit_code_130_and_resume_goes_on(growres, spec):
    code = (
        f"import sys; from growres.cli.app import main; "
        f"sys.exit(main(['submit', {spec!r}, '--backend', 'inline', '--json', '--set', 'training.epochs=100000']))"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )
    assert run.stderr is not None
    while "resnet, seed 0: started" not in (line := run.stderr.readline()):
        assert line, "the run ended before it could be interrupted"
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    out, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    assert "Traceback" not in errors
    outcome = json.loads(out)
    assert (outcome["status"], outcome["reason"]) == ("stopped", "stopped by Ctrl-C")
    assert f"resume {outcome['experiment']}" in errors
    statuses = {trial["variant"]: trial["status"] for trial in outcome["trials"]}
    assert statuses == {"simons": "succeeded", "resnet": "stopped"}
    assert growres("show", f"{outcome['experiment']}-2").out.count("stopped by Ctrl-C") >= 2


def test_resume_of_what_is_finished_runs_nothing_and_shows_it(growres, spec):
    first = growres("submit", spec, "--backend", "inline", "--json").json
    again = growres("resume", "tiny", "--backend", "inline", "--json")
    assert again.code == 0
    assert again.json["trials"] == first["trials"]


def test_a_wrong_file_is_refused_before_anything_is_stored(growres, spec, home):
    answer = growres("submit", spec, "--backend", "inline", "--set", "variants.resnet.model.name=resnit")
    assert answer.code == 2
    assert "resnit" in answer.err and "Traceback" not in answer.err
    assert list(home.glob("*.db")) == []
