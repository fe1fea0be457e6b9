"""`--set KEY=VALUE`."""

from __future__ import annotations

import pytest


def test_a_value_is_typed_as_yaml_and_laid_into_the_file(digits, load):
    loaded = load(
        digits,
        "training.epochs=3",
        "training.optimizer.lr=1e-3",
        "dataset.limit.train=10000",
        "variants.simons.growth.epochs_per_step=2",
        "seeds=[7]",
        "variants.lenet5.training={schedule: {name: constant}}",
        "training.augment.0={name: crop, padding: 2}",
        "training.clip_grad_norm=",
    )
    trials = loaded.experiment.trials
    assert {trial.training.epochs for trial in trials} == {3}
    assert trials[0].training.optimizer.lr == 0.001
    assert trials[0].dataset.limit.train == 10000
    assert trials[0].growth.epochs_per_step == 2
    assert {trial.seed for trial in trials} == {7}
    assert [trial.training.schedule.name for trial in trials][:2] == ["cosine", "constant"]
    assert trials[0].training.augment[0].padding == 2
    assert loaded.effective["dataset"]["limit"] == {"train": 10000}
    assert loaded.effective["training"]["clip_grad_norm"] is None
    assert loaded.text == digits


def test_the_last_override_of_a_key_holds(digits, load):
    assert load(digits, "training.epochs=3", "training.epochs=4").experiment.trials[0].training.epochs == 4


def test_a_mapping_replaces_what_stood_there(digits, load):
    loaded = load(digits, "training.optimizer={name: sgd, lr: 1}")
    assert loaded.effective["training"]["optimizer"] == {"name": "sgd", "lr": 1}


def test_names_of_variants_and_swept_keys_may_hold_dots(digits, load):
    text = digits.replace("lenet5:", "lenet5.v2:")
    loaded = load(
        text,
        "variants.lenet5.v2.training.epochs=7",
        "variants.resnet14.sweep.training.optimizer.lr.grid=[1, 2, 3]",
        "variants.resnet14.sweep.training.batch_size={grid: [8, 16]}",
        "variants.resnet14.sweep.training.epochs.randint=[2, 9]",
        "variants.resnet14.samples=2",
    )
    assert [trial.training.epochs for trial in loaded.experiment.trials if trial.variant == "lenet5.v2"] == [7, 7]
    assert len([trial for trial in loaded.experiment.trials if trial.variant == "resnet14"]) == 3 * 2 * 2 * 2


def test_a_shared_anchor_is_overridden_only_where_the_key_says(digits, load):
    text = digits.replace("model: {name: lenet5}", "model: &m {name: lenet5}")
    text = text.replace("model: {name: resnet14}", "model: *m")
    trials = load(text, "variants.resnet14.model.output=linear").experiment.trials
    assert [trial.model.kwargs for trial in trials[2:]] == [{}] * 2 + [{"output": "linear"}] * 4


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.epoch=3", "training.epoch: unknown key; allowed: epochs, .*did you mean 'epochs'?"),
        ("training.epochs=x", "training.epochs: must be a whole number of at least 1 (seen 'x')"),
        ("training.epochs=[1", "training.epochs: not valid YAML: expected ',' or ']'"),
        ("training.epochs=.inf", "training.epochs: must be a finite number"),
        ("training.optimizer={name: sgd, lr: 1, lr: 2}", "training.optimizer.lr: duplicate key 'lr'"),
        ("foo", "must be KEY=VALUE"),
        ("=3", "must be KEY=VALUE"),
        ("training..epochs=3", "must be KEY=VALUE"),
        ("", "must be KEY=VALUE"),
        ("seeds.2=1", "seeds is a list of 2, which takes an index from 0 to 1 (seen '2')"),
        ("seeds.-1=1", "seeds is a list of 2, which takes an index from 0 to 1 (seen '-1')"),
        ("name.x=1", "name is 'digits', which has no keys"),
        ("training.augment.0.padding=1", "training.augment.0 is 'crop', which has no keys"),
        ("variants.simons.growth.stop=", "variants.simons.growth.stop: must be a mapping (seen null)"),
        ("training.schedule.warmup_epochs=20", "training.schedule.warmup_epochs: warmup_epochs (20) must be less than"),
        ("variants.nobody.training.epochs=1", "variants.nobody: the file has no variant 'nobody'"),
        ("dataset.source=hub", None),
    ],
)
def test_a_mistake_is_said_of_the_override(digits, refuse, override, expected):
    lines = refuse(digits, override)
    if expected is None:  # the key that lacks something stands in the file
        assert lines == ["exp.yaml:2:1: dataset: missing key 'path': the source hub reads the name of a hub data set"]
        return
    assert any(_fits(line, f"--set {override}: {expected}") for line in lines), lines
    assert all(line.startswith("--set ") for line in lines)


def _fits(line: str, expected: str) -> bool:
    start, _, rest = expected.partition(".*")
    return line.startswith(start) and rest in line


def test_an_override_is_blamed_for_the_rule_that_it_broke(digits, refuse):
    assert [line.split(": ")[0] for line in refuse(digits, "training.epochs=1")] == ["--set training.epochs=1"]
    assert [line.split(": ")[0] for line in refuse(digits, "training.optimizer.momentum=0")] == [
        "--set training.optimizer.momentum=0"
    ]


def test_mistakes_of_the_file_come_before_those_of_overrides_in_their_order(digits, refuse):
    lines = refuse(digits.replace("seeds", "sedes"), "training.epoch=3", "x", "name=a b")
    places = [line.split(": ")[0] for line in lines]
    assert places == ["exp.yaml:3:1", "--set training.epoch=3", "--set x", "--set name=a b"]


def test_a_long_override_is_cut_in_the_message(digits, refuse):
    [line] = refuse(digits, f"name={'x' * 5000}")
    assert len(line) < 500


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lr=0.3", "did you mean 'training.optimizer.lr'?"),
        ("training.lr=0.3", "did you mean 'training.optimizer.lr'?"),
        ("epochs=3", "did you mean 'training.epochs'?"),
        ("dataset.train=3", "did you mean 'dataset.limit.train'?"),
        (
            "variants.lenet.training.epochs=3",
            "the file has no variant 'lenet'; it has simons, lenet5, resnet14, did you",
        ),
    ],
)
def test_a_key_that_is_not_there_is_told_with_the_one_that_was_meant(digits, refuse, override, words):
    [line] = refuse(digits, override)
    assert line.startswith(f"--set {override}: ") and words in line


def test_a_variant_may_still_be_made_by_set(digits, load):
    more = ("variants.extra.procedure=end_to_end", "variants.extra.model.name=resnet8")
    assert "extra" in {trial.variant for trial in load(digits, *more).experiment.trials}
