import dataclasses
import io
import re
import sys

import pytest

from growres.cli.progress import MAX_RUNNING_LINES, ProgressView, TrialProgress
from growres.events import AttemptEnded, AttemptStarted, GrowthStepDecided

TRIALS = [("k3f9xa-1", "simons", 0), ("k3f9xa-2", "lenet5", 1)]


class Terminal(io.StringIO):
    """A terminal as far as rich can tell."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


def without_escapes(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_elsewhere_than_on_a_terminal_each_decision_is_one_plain_line(grown_trial):
    stream = io.StringIO()
    view = ProgressView(stream)
    view.started("k3f9xa", "digits", TRIALS, "http://127.0.0.1:8265")
    for event in grown_trial:
        view.event("k3f9xa-1", event)
    view.event("k3f9xa-2", AttemptEnded(status="failed", reason="no \x1b[2J memory"))
    view.note("one note")
    view.close()
    assert stream.getvalue().splitlines() == [
        "digits (k3f9xa): 2 trials, dashboard at http://127.0.0.1:8265",
        "k3f9xa-1 simons, seed 0: started on laptop (cpu)",
        "k3f9xa-1 simons, seed 0: step 1 accepted, block 1 in stage 0, val error 8.00% -> 2.09%",
        "k3f9xa-1 simons, seed 0: step 2 rejected, block 1 in stage 0, val error 2.09% -> 9.00%",
        "k3f9xa-1 simons, seed 0: finished, val error 2.09%, test error 2.49%, 3 blocks, 51.2k parameters, 1m 02s",
        "k3f9xa-2 lenet5, seed 1: failed: no \\x1b[2J memory",
        "one note",
    ]


def test_what_an_attempt_found_wrong_is_told_on_a_terminal_and_elsewhere(terminal):
    note = "checkpoint.pt cannot be used (it is damaged); went on from the one before it"
    begun = AttemptStarted(host="laptop", device="cpu", pid=1, epochs_before=3, note=note)
    for stream in (io.StringIO(), terminal):
        view = ProgressView(stream)
        view.started("k3f9xa", "digits", TRIALS, None)
        view.event("k3f9xa-1", begun)
        view.close()
        told = f"k3f9xa-1 simons, seed 0: goes on after 3 epochs on laptop (cpu); {note}"
        assert told in without_escapes(stream.getvalue()).replace("\n", "")


def test_a_retried_attempt_does_not_tell_its_growth_steps_twice(grown_trial):
    stream = io.StringIO()
    view = ProgressView(stream)
    view.started("k3f9xa", "digits", TRIALS, None)
    for event in [*grown_trial[:-3], *grown_trial]:
        view.event("k3f9xa-1", event)
    assert stream.getvalue().count("step 1 accepted") == 1


def test_on_a_terminal_running_trials_stand_over_a_bar(terminal, grown_trial):
    view = ProgressView(terminal)
    view.started("k3f9xa", "digits", TRIALS, None)
    for event in grown_trial[:4]:
        view.event("k3f9xa-1", event)
    live = view._display._live
    live.refresh()
    shown = without_escapes(terminal.getvalue())
    view.close()
    assert "k3f9xa-1  simons      0       2      +1      2.09%    12,346  accepted" in shown
    assert "0 of 2 finished" in shown


def test_a_candidate_under_trial_or_rejected_leaves_the_networks_error_alone(grown_trial):
    trial = TrialProgress("k3f9xa-1", "simons", 0)
    told = []
    for event in grown_trial:
        trial.follow(event)
        told.append((trial.val_error, trial.candidate_error))
    _, network, candidate, accepted, next_candidate, rejected, *_ = told
    assert (network, candidate, accepted) == ((0.08, None), (0.08, 0.0209), (0.0209, None))
    assert (next_candidate, rejected) == ((0.0209, 0.09), (0.0209, None))


def test_the_display_stays_small_with_many_trials(terminal):
    view = ProgressView(terminal)
    view.started("k3f9xa", "digits", [(f"k3f9xa-{i}", "net", i) for i in range(500)], None)
    for i in range(500):
        view.event(f"k3f9xa-{i}", AttemptStarted(host="h", device="cpu", pid=i))
    picture = view._display._picture()
    view.close()
    assert len(picture.renderables) <= MAX_RUNNING_LINES + 4
    assert f"and {500 - MAX_RUNNING_LINES} more are running" in [str(line) for line in picture.renderables]


def test_closing_twice_leaves_the_terminal_as_it_was_found(terminal):
    view = ProgressView(terminal)
    stderr = sys.stderr
    view.started("k3f9xa", "digits", TRIALS, None)
    view.close()
    view.close()
    hide_cursor, show_cursor = "\x1b[?25l", "\x1b[?25h"
    shown = terminal.getvalue()
    assert shown.rindex(hide_cursor) < shown.rindex(show_cursor)
    assert sys.stderr is stderr


def test_a_display_that_fails_ends_no_run(grown_trial):
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    view = ProgressView(Closed())
    view.started("k3f9xa", "digits", TRIALS, None)
    view.event("k3f9xa-1", grown_trial[0])
    view.event("a trial that nobody announced", grown_trial[0])
    view.note("hello")
    view.close()


def test_what_an_earlier_attempt_told_is_not_told_again(grown_trial):
    stream = io.StringIO()
    view = ProgressView(stream)
    view.started("k3f9xa", "digits", TRIALS, None)
    started, *rest = grown_trial
    view.event("k3f9xa-1", dataclasses.replace(started, epochs_before=6, growth_steps_before=1))
    for event in rest:
        view.event("k3f9xa-1", event)
    view.close()
    _, goes_on, *told = stream.getvalue().splitlines()
    assert goes_on == "k3f9xa-1 simons, seed 0: goes on after 6 epochs, 1 growth step on laptop (cpu)"
    assert not any("step 1" in line for line in told) and any("step 2" in line for line in told)


@pytest.mark.parametrize(
    ("candidate", "verdict", "told"),
    [(0.05, "rejected", True), (0.09, "accepted", True), (0.05, "accepted", False), (0.09, "rejected", False)],
)
def test_a_verdict_that_the_errors_belie_is_told_with_its_reason(grown_trial, candidate, verdict, told):
    stream = io.StringIO()
    view = ProgressView(stream)
    view.started("k3f9xa", "digits", TRIALS, None)
    step = next(event for event in grown_trial if isinstance(event, GrowthStepDecided))
    reason = "against the control: no drop\x1b[2J"
    view.event("k3f9xa-1", dataclasses.replace(step, val_error_candidate=candidate, verdict=verdict, reason=reason))
    line = stream.getvalue().splitlines()[-1]
    assert ("8.00% -> " in line, line.endswith("% (against the control: no drop\\x1b[2J)")) == (True, told)
