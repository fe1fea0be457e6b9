"""Variants compared, of a small experiment that was really run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from growres.store import Store
from growres.training.outputs import load_outputs
from tests.databases import in_store
from tests.growres.cli.conftest import Answer

# One process takes them all, where the suite runs in several: the experiment that they look at is run once.
pytestmark = pytest.mark.xdist_group("comparison")

SMALL = {"name": "preact_resnet", "blocks": [1], "widths": [8]}
SPEC = {
    "name": "tiny",
    "dataset": {"source": "digits", "limit": {"train": 300, "validation": 100, "test": 100}},
    "seeds": [0, 1],
    "training": {"epochs": 2, "batch_size": 20, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}},
    "variants": {
        "lenet5": {
            "procedure": "end_to_end",
            "model": {"name": "lenet5"},
            "sweep": {"training.optimizer.lr": {"grid": [0.05, 0.02]}},
        },
        "grown": {
            "procedure": "growth",
            "model": SMALL,
            "growth": {"seed_epochs": 15, "epochs_per_step": 5, "stop": {"max_epochs": 20}},
            "twins": ["same_epochs"],
        },
        "untrained": {"procedure": "end_to_end", "model": SMALL, "training": {"optimizer": {"lr": 1e-9}}},
        "diverging": {"procedure": "end_to_end", "model": SMALL, "training": {"optimizer": {"lr": 1e30}}},
    },
    "max_failures": 0,
}
VARIANTS = ["lenet5 lr=0.05", "lenet5 lr=0.02", "grown", "grown.same_epochs", "untrained"]

Growres = Callable[..., Answer]


@pytest.fixture(scope="module")
def _home_that_ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from jobs.submission import submit

    folder = tmp_path_factory.mktemp("compared")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GROWRES_HOME", str(folder / "home"))
        environment.delenv("GROWRES_DATABASE_URL", raising=False)
        outcome = submit(folder / "spec.yaml", backend="inline")
    assert (outcome.num_succeeded, outcome.num_failed) == (10, 2)
    return folder / "home"


@pytest.fixture
def run_folder(home: Path, move_in: Callable[[Path], str], _home_that_ran: Path) -> Path:
    """The experiment's files, in a copy that is the test's own."""
    return home / "runs" / move_in(_home_that_ran)


def test_files(run_folder: Path, variant: str) -> list[Path]:
    """Of the trials of a variant, by seed."""
    with Store.open() as store:
        trials = [trial for trial in store.trials(run_folder.name) if trial.variant == variant]
    return [run_folder / trial.id / "outputs" / "test.npz" for trial in trials]


test_files.__test__ = False  # type: ignore[attr-defined]


def wrong(run_folder: Path, variant: str) -> np.ndarray:
    return np.stack([load_outputs(path).wrong for path in test_files(run_folder, variant)])


def test_each_variant_and_point_of_a_sweep_has_a_line_with_its_spread_and_its_costs(
    growres: Growres, run_folder: Path
) -> None:
    lines = growres("compare", "tiny").out.split("\n\n")[0].splitlines()
    assert " ".join(lines[0].split()) == "variant n test error params trained on time Pareto fronts"
    assert [next(name for name in VARIANTS if line.startswith(f"{name} ")) for line in lines[1:]] == VARIANTS
    errors = 100 * wrong(run_folder, "grown").mean(axis=1)
    assert f"{errors.mean():.2f}% +- {errors.std(ddof=1):.2f}" in lines[3]


def test_on_a_front_is_what_no_other_variant_beats(growres: Growres, run_folder: Path) -> None:
    rows = growres("compare", "tiny", "--format", "json").json["variants"]
    for cost in ("num_params", "train_flops", "wall_s"):
        points = {row["variant"]: (row[cost], row["mean_test_error"]) for row in rows}
        beaten = {
            name
            for name, point in points.items()
            if any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points.values())
        }
        assert {row["variant"] for row in rows if cost in row["fronts"]} == set(VARIANTS) - beaten


def test_differences_are_those_of_the_same_seeds_and_the_same_test_images(growres: Growres, run_folder: Path) -> None:
    document = growres("compare", "tiny", "--format", "json").json
    assert document["baseline"] == "grown"
    [one] = [row for row in document["differences"] if row["variant"] == "untrained"]
    before, after = wrong(run_folder, "grown"), wrong(run_folder, "untrained")
    assert one["difference"] == pytest.approx(before.mean() - after.mean())
    assert (one["seeds"], one["num_images"]) == ([0, 1], 100)
    net = before.sum(axis=0, dtype=int) - after.sum(axis=0, dtype=int)
    assert (one["num_better"], one["num_worse"]) == ((net > 0).sum(), (net < 0).sum())
    low, high = one["interval_over_images"]
    assert low <= one["difference"] <= high


def test_the_first_variant_that_grows_is_the_baseline_unless_another_is_named(
    growres: Growres, run_folder: Path
) -> None:
    answer = growres("compare", "tiny")
    assert "Against grown\n" in answer.out and "Baseline: grown, the first variant that grows." in answer.err
    named = growres("compare", "tiny", "--baseline", "lenet5 lr=0.02")
    assert "Against lenet5 lr=0.02\n" in named.out and "Baseline: lenet5 lr=0.02, as asked for." in named.err


@pytest.mark.parametrize(("asked", "said"), [("lenet5", "'lenet5 lr=0.05', 'lenet5 lr=0.02'"), ("groan", "is grown.")])
def test_a_baseline_that_is_none_is_one_line_on_stderr(
    growres: Growres, run_folder: Path, asked: str, said: str
) -> None:
    answer = growres("compare", "tiny", "--baseline", asked)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert said in answer.err


def test_twins_are_compared_with_what_they_are_twins_of(growres: Growres, run_folder: Path) -> None:
    for arguments in ((), ("--baseline", "untrained")):
        answer = growres("compare", "tiny", *arguments)
        lines = answer.out.split("\nTwins\n\n")[1].split("\n\n")[0].splitlines()
        assert lines[0].startswith("twin ") and lines[0].endswith("twin of")
        assert len(lines) == 2 and lines[1].split()[0] == "grown.same_epochs" and lines[1].split()[-1] == "grown"
        [twin] = growres("compare", "tiny", *arguments, "--format", "json").json["twins"]
        drop = wrong(run_folder, "grown").mean() - wrong(run_folder, "grown.same_epochs").mean()
        assert twin["difference"] == pytest.approx(drop) and twin["twin"] == "same_epochs"


def test_all_comparisons_of_one_call_are_corrected_together(growres: Growres, run_folder: Path) -> None:
    for baseline, number in (("grown", 4), ("untrained", 5)):  # the twin's pair is among the four, and beside them
        document = growres("compare", "tiny", "--baseline", baseline, "--format", "json").json
        rows = document["differences"] + document["twins"]
        assert {row["num_comparisons"] for row in rows} == {number}
        smallest = min(rows, key=lambda row: row["p_value"])
        assert smallest["p_value_adjusted"] == pytest.approx(min(1.0, number * smallest["p_value"]))


def test_there_is_a_sentence_for_each_pair(growres: Growres, run_folder: Path) -> None:
    sentences = growres("compare", "tiny").out.split("\n\n")[-1].splitlines()
    assert len(sentences) == 4
    rows = growres("compare", "tiny", "--format", "json").json["differences"]
    assert sorted(sentences) == sorted(row["sentence"] for row in rows)
    for row in rows:
        if row["verdict"] == "no difference found":
            assert (
                row["sentence"].startswith("No difference found: ")
                and "could have been found 80% of the time" in row["sentence"]
            )


def test_a_level_that_is_easy_to_pass_finds_more_and_has_narrower_intervals(growres: Growres, run_folder: Path) -> None:
    def untrained(*level: str) -> dict[str, Any]:
        rows = growres("compare", "tiny", *level, "--format", "json").json["differences"]
        return {row["variant"]: row for row in rows}["untrained"]

    strict, easy = untrained("--alpha", "0.001"), untrained("--alpha", "0.7")
    assert (strict["verdict"], easy["verdict"]) == ("no difference found", "worse")
    for interval in ("interval_over_seeds", "interval_over_images"):
        # Both may begin at -1, beyond which errors cannot differ.
        assert strict[interval][0] <= easy[interval][0] and easy[interval][1] < strict[interval][1]


def test_trials_that_did_not_succeed_are_left_out_and_counted(growres: Growres, run_folder: Path) -> None:
    in_store("UPDATE trial SET status = 'interrupted' WHERE variant = 'untrained' AND seed = 1")
    answer = growres("compare", "tiny")
    assert "diverging" not in answer.out
    assert "Left out: 3 trials that did not succeed (2 failed, 1 interrupted)" in answer.err
    assert "None has succeeded of: diverging" in answer.err
    [untrained] = [line.split() for line in answer.out.splitlines() if line.startswith("untrained  ")][:1]
    assert untrained[1] == "1" and untrained[-1] == "1"  # n, and left out
    [one] = [row for row in growres("compare", "tiny", "--format", "json").json["differences"] if row["seeds"] == [0]]
    assert one["variant"] == "untrained" and "the networks of seed 0 only" in one["sentence"]


def _remove(file: Path) -> None:
    file.unlink()


def _alter(file: Path) -> None:
    outputs = load_outputs(file)
    replace(outputs, losses=outputs.losses + 1.0).save(file)


def _give_other_labels(file: Path) -> None:
    """As a trial tested on other images would have, its digest in the store and all."""
    outputs = load_outputs(file)
    replace(outputs, labels=outputs.labels[::-1].copy(), predictions=outputs.predictions[::-1].copy()).save(file)
    path = f"{file.parents[1].name}/outputs/test.npz"
    digest = sha256(file.read_bytes()).hexdigest()
    assert in_store("UPDATE artifact SET sha256 = :digest WHERE path = :path", digest=digest, path=path) == 1


@pytest.mark.parametrize(
    ("harm", "why"),
    [(_remove, "There is no "), (_alter, "its sha256 begins "), (_give_other_labels, "have other labels")],
    ids=["missing", "altered", "other images"],
)
def test_without_a_trials_own_answers_its_variant_is_compared_over_seeds_only(
    growres: Growres, run_folder: Path, harm: Callable[[Path], None], why: str
) -> None:
    harm(test_files(run_folder, "untrained")[1])
    answer = growres("compare", "tiny")
    assert answer.code == 0 and "is not known of 1 of 10 trials" in answer.err and why in answer.err
    document = growres("compare", "tiny", "--format", "json").json
    images = {row["variant"]: row["num_images"] for row in document["differences"]}
    assert images == {"lenet5 lr=0.05": 100, "lenet5 lr=0.02": 100, "grown.same_epochs": 100, "untrained": 0}
    [one] = [row for row in document["differences"] if row["variant"] == "untrained"]
    assert one["interval_over_images"] is None and one["p_value"] == one["p_value_over_seeds"]
    assert len(document["without_images"]) == 1


def test_csv_has_a_row_for_each_pair_and_markdown_is_tables_and_a_list(growres: Growres, run_folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(growres("compare", "tiny", "--format", "csv").out)))
    assert [(row["variant"], row["twin"]) for row in rows] == [
        ("lenet5 lr=0.05", ""),
        ("lenet5 lr=0.02", ""),
        ("untrained", ""),
        ("grown.same_epochs", "same_epochs"),
    ]
    lines = growres("compare", "tiny", "--format", "md").out.splitlines()
    assert lines[0].startswith("| variant ") and "## Against grown" in lines and "## Twins" in lines
    assert sum(line.startswith("- ") for line in lines) == 4


def test_how_often_the_smallest_detectable_difference_is_found_is_told_in_every_format(
    growres: Growres, run_folder: Path
) -> None:
    document = growres("compare", "tiny", "--format", "json").json
    assert document["power"] == 0.8 and {row["power"] for row in document["differences"]} == {0.8}
    rows = csv.DictReader(io.StringIO(growres("compare", "tiny", "--format", "csv").out))
    assert {row["power"] for row in rows} == {"0.8"}
    told = [line for line in growres("compare", "tiny").out.splitlines() if line.startswith("No difference found")]
    assert told and all("80% of the time" in line or "no spread" in line for line in told)


@pytest.mark.parametrize("output", ["table", "md"])
@pytest.mark.parametrize("variant", ["grown", "untrained", "diverging"], ids=["baseline", "other", "left out"])
def test_no_variants_name_drives_the_terminal(growres: Growres, run_folder: Path, output: str, variant: str) -> None:
    in_store("UPDATE trial SET variant = :new WHERE variant = :old", new=f"{variant}\x1b[2J", old=variant)
    test_files(run_folder, "lenet5")[0].unlink()  # so that a path is told, too
    answer = growres("compare", "tiny", "--format", output)
    assert answer.code == 0 and f"{variant}\\x1b[2J" in answer.out + answer.err
    assert "\x1b" not in answer.out + answer.err


def test_the_picture_shows_every_variant(growres: Growres, run_folder: Path, tmp_path: Path) -> None:
    answer = growres("compare", "tiny", "-o", str(tmp_path / "cost.svg"))
    assert answer.code == 0 and f"Drawn: {tmp_path / 'cost.svg'}" in answer.err
    text = (tmp_path / "cost.svg").read_text()
    labels = [f"{name} (n = 2{', baseline' if name == 'grown' else ''})" for name in VARIANTS]
    assert all(label in text for label in labels) and f"tiny ({run_folder.name})" in text


def test_what_cannot_be_drawn_is_said_before_anything_is_printed(growres: Growres, run_folder: Path) -> None:
    answer = growres("compare", "tiny", "-o", "cost.pdf")
    assert (answer.code, answer.out) == (2, "") and ".svg or .png" in answer.err


def test_without_a_finished_trial_there_is_nothing_to_compare(growres: Growres, run_folder: Path) -> None:
    in_store("UPDATE trial SET status = 'running'")
    answer = growres("compare", "tiny")
    assert (answer.code, answer.out) == (2, "") and "no trial has succeeded yet" in answer.err


def test_a_single_variant_has_nothing_to_be_compared_with(growres: Growres, run_folder: Path) -> None:
    in_store("UPDATE trial SET status = 'failed' WHERE variant <> 'untrained'")
    answer = growres("compare", "tiny")
    assert answer.code == 0 and len(answer.out.splitlines()) == 2
    assert "Only one variant, untrained," in answer.err


def test_a_difference_found_with_one_seed_is_called_so(growres: Growres, run_folder: Path) -> None:
    assert "one seed" not in (both := growres("compare", "tiny", "--alpha", "0.7")).out + both.err
    in_store("UPDATE trial SET status = 'interrupted' WHERE seed = 1")
    answer = growres("compare", "tiny")
    [line] = [line for line in answer.out.splitlines() if line.startswith("untrained  ") and " pp " in line]
    assert line.endswith("  worse (one seed)")
    assert "With one seed only the images are tested" in answer.err
    rows = growres("compare", "tiny", "--format", "json").json["differences"]
    assert {row["variant"]: row["verdict"] for row in rows}["untrained"] == "worse"


def test_a_difference_found_over_seeds_only_is_called_so(growres: Growres, run_folder: Path) -> None:
    for file in test_files(run_folder, "untrained"):
        file.unlink()
    answer = growres("compare", "tiny", "--alpha", "0.7")
    [line] = [line for line in answer.out.splitlines() if line.startswith("untrained  ") and " pp " in line]
    assert line.endswith("  worse (seeds only)") and "only the seeds are tested" in answer.err
