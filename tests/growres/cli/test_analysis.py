from __future__ import annotations

import json
import math
import shutil

import pytest
import yaml
from PIL import Image

from growres.analysis.boosting import telescoped_bound
from growres.analysis.points import error_variance
from growres.events import GrowthStepDecided
from growres.store import NewExperiment, NewTrial, Recorder, Store

PICTURES = {
    "error-against-blocks",
    "error-against-blocks-semi-log",
    "error-against-blocks-log-log",
    "error-against-flops",
    "boosting",
    "proposals",
}


@pytest.fixture(scope="module")
def _controlled_home(tmp_path_factory):
    """A home in which one growth with control arms and several rounds, and one layer-wise trial, have succeeded."""
    from jobs.submission import submit

    spec = {
        "name": "controlled",
        "dataset": {"source": "digits", "limit": {"train": 300, "validation": 100, "test": 50}},
        "training": {"batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}},
        "variants": {
            "grown": {
                "procedure": "growth",
                "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 4]},
                "growth": {
                    "seed_epochs": 1,
                    "epochs_per_step": 1,
                    "control": True,
                    "prune": True,
                    "tail_epochs": 1,
                    "stop": {"max_epochs": 12},
                },
            },
            "layerwise": {
                "procedure": "layerwise",
                "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 4]},
                "layerwise": {"epochs_per_layer": 1},
            },
        },
    }
    folder = tmp_path_factory.mktemp("controlled")
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GROWRES_HOME", str(folder / "home"))
        environment.delenv("GROWRES_DATABASE_URL", raising=False)
        assert submit(folder / "spec.yaml", backend="inline").num_succeeded == 2
    return folder / "home"


@pytest.fixture
def controlled(move_in, _controlled_home):
    """The id of that experiment, in a copy of its home that is this test's own."""
    return move_in(_controlled_home)


@pytest.fixture
def outputs(home, controlled):
    """The folder of what the networks of the grown trial said."""
    return home / "runs" / controlled / f"{controlled}-1" / "outputs"


def facts(growres, trial):
    return growres("show", trial, "--format", "json").json


def test_every_section_is_there_for_a_person_with_its_sentences(growres, controlled):
    answer = growres("analyze", "latest-1")
    assert answer.code == 0, answer.err
    for words in (
        "Decay of the validation error",
        "All proposals,",
        "Decay of the validation loss",
        "Error against blocks,",
        "One more step (block ",
        "and its epochs) is expected to lower the error by",
        "Weighted by binomial variance alone; seed variance unknown: one seed.",
        "delta AIC ",
        "On 100 validation images",
        "Boosting",
        "a diagnostic, not a certificate",
        "Blocks against their control arms",
        "beat the control arm",
        "Cost",
        "rejected proposals",
        "the whole trial",
    ):
        assert words in answer.out
    assert "## Boosting" in growres("analyze", "latest-1", "--format", "md").out


def test_json_has_every_figure_finite_or_null(growres, controlled):
    answer = growres("analyze", "latest-1", "--format", "json")
    document = json.loads(answer.out, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert {"networks", "decay", "noise_floor", "boosting", "controls", "cost"} <= document.keys()
    assert [(one["quantity"], one["series"]) for one in document["decay"]] == [
        ("error", "all proposals"),
        ("error", "accepted only"),
        ("loss", "all proposals"),
        ("loss", "accepted only"),
    ]
    error, loss = document["decay"][0], document["decay"][2]
    for decay in (error, loss):
        assert decay["laws"][0]["delta_aicc"] == 0
        assert {"law", "a", "a_lower", "forecast_rmse", "weight"} <= decay["laws"][0].keys()
        assert decay["next_gain"]["lower"] <= decay["next_gain"]["upper"]
        assert all(point["variance"] > 0 for point in decay["points"])
    assert document["noise_floor"]["num_validation_images"] == document["validation_images"] == 100


def test_the_points_are_the_shallow_network_and_every_appended_block(growres, controlled):
    document = growres("analyze", "latest-1", "--format", "json").json
    steps = [row for row in facts(growres, "latest-1")["growth_steps"] if row["kind"] == "append"]
    all_proposals = document["decay"][0]["points"]
    assert [point["step"] for point in all_proposals] == [0, *(row["step"] for row in steps)]
    assert all_proposals[0]["num_blocks"] == 2
    for point in all_proposals:
        (network,) = [one for one in document["networks"] if one["step"] == point["step"]]
        assert point["variance"] == pytest.approx(error_variance(network["val_error"], 100))


def test_the_cost_of_the_parts_is_that_of_the_trial(growres, controlled):
    *parts, whole = growres("analyze", "latest-1", "--format", "json").json["cost"]
    trial = facts(growres, "latest-1")
    assert {part["part"] for part in parts} >= {"shallow network", "control arms", "pruning", "last epochs"}
    assert whole["train_flops"] == trial["train_flops"] == sum(part["train_flops"] for part in parts)
    assert whole["epochs"] == trial["epochs"]
    assert whole["wall_s"] == pytest.approx(trial["wall_s"])
    assert sum(part["share_of_flops"] for part in parts) == pytest.approx(1)
    controls = next(part for part in parts if part["part"] == "control arms")
    appended = [row for row in trial["growth_steps"] if row["kind"] == "append"]
    assert controls["epochs"] == len(appended)  # one epoch each, as the candidates have


def test_blocks_are_compared_with_the_control_of_their_own_step(growres, controlled):
    every = growres("analyze", "latest-1", "--format", "json").json["controls"]["every"]
    steps = [row for row in facts(growres, "latest-1")["growth_steps"] if row["kind"] == "append"]
    drops = [row["val_error_control"] - row["val_error_candidate"] for row in steps]
    assert every["num_steps"] == len(steps)
    assert every["num_better"] == sum(drop > 0 for drop in drops)
    assert every["difference"] == pytest.approx(sum(drops) / len(drops))


def test_the_bound_is_the_one_that_its_product_telescopes_to(growres, controlled):
    boosting = growres("analyze", "latest-1", "--format", "json").json["boosting"]
    for step in boosting["steps"]:
        assert step["bound"] == pytest.approx(telescoped_bound(step["edge"], boosting["num_classes"]))
        assert step["train_error"] <= step["best_z"] + 1e-12
    accepted = [row for row in facts(growres, "latest-1")["growth_steps"] if row["verdict"] == "accepted"]
    appended = [row for row in accepted if row["kind"] == "append"]
    assert [step["growth_step"] for step in boosting["steps"]] == [0, *(row["step"] for row in appended)]
    told = [step["train_error"] for step in boosting["steps"][1:]]
    assert told == pytest.approx([row["train_error_candidate"] for row in appended])


def test_boosting_is_a_diagnostic_only_where_all_weights_move(growres, controlled):
    assert growres("analyze", "latest-1", "--format", "json").json["boosting"]["is_diagnostic"]
    layerwise = growres("analyze", "latest-2", "--format", "json").json
    assert not layerwise["boosting"]["is_diagnostic"]
    assert "trains none" in layerwise["controls"]["left_out"]


def test_a_training_output_that_is_missing_leaves_boosting_out_and_nothing_else(growres, controlled, outputs):
    (outputs / "train-0000.npz").unlink()
    answer = growres("analyze", "latest-1")
    assert answer.code == 0
    assert "Boosting: left out: there is no" in answer.out and "train-0000.npz on this machine" in answer.out
    assert "Error against blocks," in answer.out and "the whole trial" in answer.out


def test_an_output_that_was_changed_afterwards_leaves_its_part_out(growres, controlled, outputs):
    shutil.copy(outputs / "validation.npz", outputs / "train-0000.npz")
    boosting = growres("analyze", "latest-1", "--format", "json").json["boosting"]
    assert "its sha256 begins " in boosting["left_out"]


def test_without_the_validation_outputs_the_spread_of_the_loss_is_unknown(growres, controlled, outputs):
    (outputs / "validation.npz").unlink()
    error, _, loss, _ = growres("analyze", "latest-1", "--format", "json").json["decay"]
    assert "laws" in error
    assert "validation.npz" in loss["left_out"]


def test_too_few_points_are_told_and_the_rest_still_stands(growres, experiment, tmp_path):
    with Store.open() as store:
        store.add_provenance(experiment, {"data_splits": {"train": 300, "validation": 100, "test": 50}})
    answer = growres("analyze", "latest-1")
    assert answer.code == 0
    assert "Cannot fit a decay law to 3 points" in answer.out
    assert "the rule asks for 8 measured networks, and there are 3" in answer.out
    assert "the whole trial" in answer.out
    picture = growres("analyze", "latest-1", "-o", str(tmp_path / "decay.svg"))
    assert picture.code == 2 and "Cannot draw" in picture.err and not (tmp_path / "decay.svg").exists()


def test_without_the_number_of_validation_images_no_noise_is_made_up(growres, experiment):
    document = growres("analyze", "latest-1", "--format", "json").json
    assert "noise is unknown" in document["decay"][0]["left_out"]
    assert document["noise_floor"].keys() == {"left_out"}


def test_an_end_to_end_trial_is_refused_in_one_line_that_names_what_to_use(growres, trained):
    answer = growres("analyze", "latest-2")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1 and f"growres compare {trained}" in answer.err


def test_a_trial_under_way_is_analysed_as_far_as_it_is_and_said_to_be(growres, home, grown_trial):
    config = {"sweep_point": {}, "model": {"name": "preact_resnet", "blocks": [1, 1]}}
    trial = NewTrial(variant="simons", seed=0, procedure="growth", model="preact_resnet", config=config)
    splits = {"train": 300, "validation": 100, "test": 50}
    with Store.open() as store:
        new = NewExperiment(name="running", spec_text="", spec={}, trials=(trial,), provenance={"data_splits": splits})
        experiment_id = store.add_experiment(new)
    untold = growres("analyze", "latest-1")
    assert untold.code == 2 and "has not trained an epoch" in untold.err
    first_step = next(i for i, event in enumerate(grown_trial) if isinstance(event, GrowthStepDecided))
    recorder = Recorder(None, home / "spool.jsonl")
    for event in grown_trial[: first_step + 2]:  # an epoch of the second step too
        recorder.record(f"{experiment_id}-1", 1, event)
    recorder.close()
    answer = growres("analyze", "latest-1")
    assert answer.code == 0
    assert "running, as far as it is" in answer.out and "analysed as far as it is" in answer.err
    assert "step under way" in answer.out
    assert growres("analyze", "latest-1", "--format", "json").json["is_finished"] is False


def test_a_folder_gets_every_picture_as_svg_and_png(growres, controlled, tmp_path):
    answer = growres("analyze", "latest-1", "-o", str(tmp_path / "pictures"))
    assert answer.code == 0, answer.err
    files = {path.name: path for path in (tmp_path / "pictures").iterdir()}
    assert files.keys() == {f"{name}{suffix}" for name in PICTURES for suffix in (".svg", ".png")}
    for name in PICTURES:
        assert "grown, seed 0" in files[f"{name}.svg"].read_text()
        with Image.open(files[f"{name}.png"]) as picture:
            assert picture.width > 1000 and len(picture.convert("L").getcolors(256) or []) > 10
    for words in ("FLOPs of training spent", "validation error (%", "accepted"):
        assert words in files["error-against-flops.svg"].read_text()
    assert "control arm" in files["proposals.svg"].read_text()
    assert "edge and gamma (no unit)" in files["boosting.svg"].read_text()


def test_a_file_gets_the_decay_alone(growres, controlled, tmp_path):
    assert growres("analyze", "latest-1", "-o", str(tmp_path / "decay.png")).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["decay.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "csv"), "more than one table"),
        (("--level", "1.5"), "not between 0 and 1"),
        (("-o", "picture.pdf"), ".svg or .png"),
        (("-o", "nowhere/there"), "there is no folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_analysis(growres, controlled, arguments, words):
    answer = growres("analyze", "latest-1", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err and answer.err.count("\n") == 1


def test_a_wider_level_gives_a_wider_interval(growres, controlled):
    def width(level):
        document = growres("analyze", "latest-1", "--level", str(level), "--format", "json").json
        lower, upper = document["controls"]["every"]["interval"]
        gain = document["decay"][0]["next_gain"]
        return upper - lower, gain["upper"] - gain["lower"]

    assert all(math.isfinite(narrow) and narrow < wide for narrow, wide in zip(width(0.5), width(0.95), strict=True))
