import csv
import io
import re
from pathlib import Path

import pytest

from growres.cli.specs import find_spec, preset_files
from growres.errors import NotFoundError

SPEC = """\
name: tiny
dataset: {source: digits}
seeds: [0, 1]
training: {epochs: 2, optimizer: {name: sgd, lr: 0.1}}
variants:
  simons:
    procedure: growth
    model: {name: preact_resnet, blocks: [1], widths: [4]}
    growth: {seed_epochs: 1, epochs_per_step: 2, stop: {max_epochs: 5}}
  lenet5:
    procedure: end_to_end
    model: {name: lenet5}
    sweep: {training.optimizer.lr: {grid: [0.05, 0.1]}}
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return path


def test_a_preset_goes_by_its_bare_name():
    assert find_spec("digits") == preset_files()["digits"]


def test_a_file_goes_before_a_preset_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text(SPEC)
    assert find_spec("digits").read_text() == SPEC


@pytest.mark.parametrize("spec", ["digit", "./digits.yaml", "."])
def test_what_is_neither_names_the_presets(spec):
    with pytest.raises(NotFoundError, match="presets: .*digits"):
        find_spec(spec)


def test_validate_counts_variants_and_trials(growres, spec):
    answer = growres("validate", str(spec))
    assert answer.code == 0
    assert "tiny is valid: 2 variants, 6 trials" in answer.out


def test_validate_prints_every_error_where_it_is_and_nothing_else(growres, spec):
    spec.write_text(SPEC.replace("seeds: [0, 1]", "seeeds: [0]").replace("lr: 0.1}", "lr: fast}"))
    answer = growres("validate", str(spec))
    assert answer.code == 2
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{spec}:") for line in lines)


def test_every_preset_is_valid(growres):
    for name in preset_files():
        assert growres("validate", name).code == 0


def test_the_schema_is_one_json_document(growres):
    assert "variants" in growres("schema").json["properties"]


def test_a_dry_run_lists_the_trials_and_touches_no_store(growres, spec, home):
    answer = growres("submit", str(spec), "--dry-run", "--format", "json")
    assert answer.code == 0
    trials = answer.json
    assert [(trial["variant"], trial["seed"]) for trial in trials[:2]] == [("simons", 0), ("simons", 1)]
    assert (trials[0]["epochs_min"], trials[0]["epochs_max"]) == (1, 5)
    assert trials[2]["sweep_point"] == {"training.optimizer.lr": 0.05}
    assert trials[2]["images_min"] == 2 * 1150
    assert list(home.glob("*.db")) == []


def test_a_dry_run_tells_people_spans_and_totals(growres, spec):
    answer = growres("submit", str(spec), "--dry-run", "--set", "training.epochs=3")
    assert answer.out.splitlines()[1].split() == ["simons", "0", "growth", "preact_resnet", "1..5", "1,150..5,750"]
    assert "6 trials, 14..22 epochs, 16,100..25,300 images" in answer.err


def test_a_dry_run_of_images_that_are_not_here_yet_says_unknown(growres, spec):
    spec.write_text(SPEC.replace("source: digits", "source: hub, path: nobody/has-this"))
    answer = growres("submit", str(spec), "--dry-run")
    assert answer.code == 0
    assert "unknown images" in answer.err
    rows = list(csv.DictReader(io.StringIO(growres("submit", str(spec), "--dry-run", "--format", "csv").out)))
    assert rows[0]["images_min"] == ""


# ---------------------------------------------------------------------------------------- what is known of the images


@pytest.mark.parametrize("command", [("validate",), ("submit", "--dry-run")])
def test_a_network_that_the_images_are_too_small_for_is_refused_before_anything_runs(growres, spec, command):
    answer = growres(*command, str(spec), "--set", "variants.lenet5.model.name=vgg16_bn")
    assert answer.code == 2 and answer.out == ""
    assert "8x8 are too small for vgg16_bn" in answer.err and "variants.lenet5.model.name" in answer.err
    larger = growres(*command, str(spec), "--set", "variants.lenet5.model.name=vgg11", "--set", "dataset.image_size=32")
    assert larger.code == 0, larger.err


def test_the_readmes_pieces_of_an_experiment_file_are_a_file_that_could_run(growres, tmp_path):
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", readme, flags=re.DOTALL)
    *pieces, least = blocks[: next(i for i, block in enumerate(blocks) if "my_first" in block) + 1]
    for number, text in enumerate(("".join(pieces), least)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text)
        answer = growres("validate", str(path))
        assert answer.code == 0, answer.err
    assert "recipe:" in "".join(pieces)


# ---------------------------------------------------------------------------------------------------------- beside it


@pytest.mark.parametrize("command", [("validate",), ("submit", "--dry-run")])
def test_what_a_recipe_replaces_and_where_a_presets_note_stands_is_said_on_stderr(growres, spec, command):
    answer = growres(*command, str(spec), "--set", "variants.lenet5.recipe=short")
    assert "Note: the recipe short of lenet5 in the variant lenet5 replaces the file's training.epochs, " in answer.err
    assert "Note" not in growres(*command, str(spec)).err
    assert str(preset_files()["digits"]) in growres(*command, "digits").err
