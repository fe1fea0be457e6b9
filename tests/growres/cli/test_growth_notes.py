"""What is said below the steps of a growth whose errors could be read as what they are not."""

from dataclasses import replace

import pytest

from growres.events import AttemptEnded, GrowthStepDecided, TrialFinished
from growres.store import NewExperiment, NewTrial, Recorder, Store


@pytest.fixture
def recorded(home, grown_trial):
    """Stores a growth of two proposals, its events changed, with its settings; ends before its result if asked to."""

    def record(growth, change=lambda event: event, *, finished=True):
        trial = NewTrial(
            variant="simons",
            seed=0,
            procedure="growth",
            model="preact_resnet",
            config={"sweep_point": {}, "model": {"name": "preact_resnet", "blocks": [1, 1]}, "growth": growth},
        )
        with Store.open() as store:
            new = NewExperiment(name="noted", spec_text="name: noted\n", spec={"name": "noted"}, trials=(trial,))
            experiment_id = store.add_experiment(new)
            recorder = Recorder(None, home / "spool.jsonl")
            for event in grown_trial:
                if finished or not isinstance(event, TrialFinished | AttemptEnded):
                    recorder.record(f"{experiment_id}-1", 1, change(event))
            recorder.close()

    return record


def of_step(number, **changes):
    def change(event):
        is_it = isinstance(event, GrowthStepDecided) and event.step == number
        return replace(event, **changes) if is_it else event

    return change


@pytest.fixture(params=[(), ("--lineage",)], ids=["table", "lineage"])
def shown(request, growres):
    """What `show` says of the trial in one of its two ways, as a table or tree and as Markdown, on one line each."""

    def call():
        outs = [growres("show", "noted-1", *request.param, "--format", output).out for output in ("table", "md")]
        return [" ".join(out.split()) for out in outs]

    return call


def test_an_ordinary_growth_needs_no_word(recorded, shown):
    recorded({"tail_epochs": 0, "placement": {"name": "best_of", "screen_epochs": 2}})
    for out in shown():
        assert "trial's own seed" not in out and "screened" not in out and "batch norm" not in out and "*" not in out
        assert "After the last step" not in out


def test_of_several_seeds_it_is_said_whose_errors_are_shown(recorded, shown):
    recorded({}, of_step(1, num_replicates=2))
    for out in shown():
        assert "The errors are those of the trial's own seed." in out and "rests on all of them" in out


def test_the_error_of_a_new_block_alone_is_marked(recorded, shown, growres):
    recorded({"placement": {"name": "best_of", "screen_epochs": 2}}, of_step(2, train_error_candidate=None))
    for out in shown():
        assert "9.00%*" in out and "2.09%*" not in out
        assert "*: screened out. Only the new block was trained, for 2 epochs:" in out
    (seed, grown) = growres("show", "noted-1", "--lineage", "--format", "json").json["lineage"]
    assert [step["is_screened_out"] for step in (grown["accepted"], *grown["declined"])] == [False, True]


def test_a_candidate_that_diverged_was_not_screened_out(recorded, shown):
    recorded({}, of_step(2, train_error_candidate=None, val_error_candidate=None))
    assert all("*" not in out for out in shown())


def test_removals_say_what_they_compare_and_the_reason_that_it_is_not_theirs(recorded, shown, growres):
    recorded({"prune": True}, of_step(2, kind="remove", verdict="accepted"))
    for out in shown():
        assert "batch norm statistics are taken anew" in out and "against the grown network" in out
    assert "not accepted (why growing ended; pruning left 3)" in growres("show", "noted-1").out


def test_a_growth_that_pruning_left_whole_has_its_reason_as_it_is(recorded, growres):
    recorded({"prune": True}, of_step(2, kind="remove"))
    assert "why growing ended" not in growres("show", "noted-1").out


def test_after_a_tail_it_is_said_at_which_error_it_ended(recorded, shown):
    recorded({"tail_epochs": 5}, lambda event: replace(event, val_error=0.2436) if is_result(event) else event)
    for out in shown():
        assert "trained for 5 epochs more (tail_epochs), and ended at a val error of 24.36%" in out


def test_of_a_tail_to_come_nothing_is_said(recorded, shown):
    recorded({"tail_epochs": 5}, finished=False)
    assert all("After the last step" not in out for out in shown())


def is_result(event):
    return isinstance(event, TrialFinished)
