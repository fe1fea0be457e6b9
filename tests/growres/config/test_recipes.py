"""`recipe: paper` and `recipe: short`: how a network's authors trained it, taken from the zoo."""

from __future__ import annotations

import pytest

import zoo
from growres.config.experiment import MultiStepSchedule, RmsPropConfig, TrainingConfig

NOT_OF_THE_METHOD = {"precision", "channels_last", "compile"}
RECIPES = [(name, recipe) for name in zoo.list_models() for recipe in zoo.describe(name).recipes]

FILE = """\
name: recipes
dataset: {source: digits}
training:
  epochs: 7
  optimizer: {name: adamw, lr: 0.01}
  label_smoothing: 0.1
  augment: [cutout]
  clip_grad_norm: 1.0
  precision: fp32
variants:
  vgg:
    procedure: end_to_end
    model: {name: vgg16_bn}
    recipe: paper
"""


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_network_has_the_recipe_of_its_paper(name):
    assert next(iter(zoo.describe(name).recipes)) == "paper"


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
def test_a_recipe_is_a_whole_training_section(name, recipe):
    training = zoo.describe(name).recipes[recipe].training
    assert set(training) == set(TrainingConfig.model_fields) - NOT_OF_THE_METHOD
    TrainingConfig.model_validate_json(TrainingConfig.model_validate(training).model_dump_json(), strict=True)


def test_no_key_of_a_section_is_left_to_the_files_defaults(load):
    """A default of the same name, every key of which differs from the recipe's."""
    defaults = (
        "training:\n  epochs: 7\n  batch_size: 9\n"
        "  optimizer: {name: sgd, lr: 0.3, momentum: 0.1, nesterov: false, weight_decay: 0.1}\n"
        "  schedule: {name: cosine, warmup_epochs: 3, final_lr_fraction: 0.5}\n"
        "  augment: [cutout]\n  label_smoothing: 0.1\n  clip_grad_norm: 1.0\n"
    )
    start, end = FILE.index("training:"), FILE.index("variants:")
    [trial] = load((FILE[:start] + defaults + FILE[end:]).replace("recipe: paper", "recipe: short")).experiment.trials
    expected = TrainingConfig.model_validate(zoo.describe("vgg16_bn").recipes["short"].training)
    assert trial.training == expected


def test_what_the_command_line_sets_of_the_defaults_is_laid_over_the_recipe(load):
    [trial] = load(
        FILE.replace("recipe: paper", "recipe: short"), "training.epochs=3", "training.optimizer.lr=0.07"
    ).experiment.trials
    assert (trial.training.epochs, trial.training.optimizer.name, trial.training.optimizer.lr) == (3, "sgd", 0.07)
    assert trial.training.label_smoothing == 0


def test_the_order_in_which_the_layers_of_training_win(load):
    def epochs(text, *overrides):
        return [trial.training.epochs for trial in load(text, *overrides).experiment.trials]

    short = FILE.replace("recipe: paper", "recipe: short")
    own = short + "    training: {epochs: 4}\n"
    swept = own + "    sweep: {training.epochs: {grid: [6]}}\n"
    of_all, of_one = "training.epochs=3", "variants.vgg.training.epochs=5"
    assert epochs(short) == [20] and epochs(short, of_all) == [3]
    assert epochs(own, of_all) == [4] and epochs(own, of_all, of_one) == [5]
    assert epochs(swept, of_all, of_one) == [6]


def test_a_recipe_can_be_swept(load):
    text = FILE.replace("recipe: paper", "sweep: {recipe: {grid: [paper, short]}}")
    assert [(t.recipe, t.training.epochs) for t in load(text).experiment.trials] == [("paper", 74), ("short", 20)]


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
def test_a_variant_can_take_every_recipe(load, name, recipe):
    required = "".join(f", {a.name}: [1]" for a in zoo.describe(name).arguments if a.required)
    text = FILE.replace("vgg16_bn", f"{name}{required}").replace("recipe: paper", f"recipe: {recipe}")
    [trial] = load(text).experiment.trials
    assert trial.recipe == recipe
    assert trial.training.epochs == zoo.describe(name).recipes[recipe].training["epochs"]


def test_a_recipe_replaces_every_default_of_the_method_and_no_other(load):
    [trial] = load(FILE).experiment.trials
    expected = TrainingConfig.model_validate(zoo.describe("vgg16_bn").recipes["paper"].training)
    assert trial.training == expected.model_copy(update={"precision": "fp32"})
    assert trial.training.label_smoothing == 0 and trial.training.clip_grad_norm is None


def test_a_variants_own_keys_are_laid_over_the_recipe(load):
    own = "recipe: paper\n    training: {epochs: 80, optimizer: {lr: 0.02}, augment: [flip]}"
    [trial] = load(FILE.replace("recipe: paper", own)).experiment.trials
    assert trial.training.epochs == 80
    assert (trial.training.optimizer.name, trial.training.optimizer.lr) == ("sgd", 0.02)
    assert trial.training.optimizer.weight_decay == 5e-4
    assert isinstance(trial.training.schedule, MultiStepSchedule)
    assert [augmentation.name for augmentation in trial.training.augment] == ["flip"]


def test_a_sweep_is_laid_over_the_recipe_and_a_swept_model_has_its_own(load):
    sweep = "recipe: paper\n    sweep: {model.name: {grid: [vgg11, inception_v3]}, training.batch_size: {grid: [8, 9]}}"
    trials = load(FILE.replace("recipe: paper", sweep)).experiment.trials
    assert [(t.model.name, t.training.batch_size, t.training.epochs) for t in trials] == [
        ("vgg11", 8, 74),
        ("vgg11", 9, 74),
        ("inception_v3", 8, 100),
        ("inception_v3", 9, 100),
    ]
    assert isinstance(trials[2].training.optimizer, RmsPropConfig)


def test_a_recipe_needs_no_training_section(load):
    start, end = FILE.index("training:"), FILE.index("variants:")
    [trial] = load(FILE[:start] + FILE[end:]).experiment.trials
    assert trial.training.epochs == 74


def test_a_recipe_that_the_network_lacks_is_refused_with_those_that_it_has(refuse):
    [line] = refuse(FILE.replace("recipe: paper", "recipe: papr"))
    assert line == (
        "exp.yaml:14:13: variants.vgg.recipe: no recipe is named 'papr'; vgg16_bn has the recipes paper, short, "
        "did you mean 'paper'?"
    )
    start, end = FILE.index("training:"), FILE.index("variants:")
    [line] = refuse((FILE[:start] + FILE[end:]).replace("recipe: paper", "recipe: papr"))
    assert "no recipe is named 'papr'" in line


def test_what_clashes_with_a_recipe_is_blamed_and_not_the_recipe(refuse):
    lines = refuse(FILE.replace("recipe: paper", "recipe: paper\n    training: {epochs: 50}"))
    assert lines == [
        "exp.yaml:14:13: variants.vgg.recipe: the milestones 50, 65 are never passed: training.epochs is 50; so says "
        "the recipe of the variant vgg: give it its own training.schedule, such as {name: constant}"
    ]


def test_what_the_command_line_breaks_of_recipes_names_each_variant_and_the_remedy(refuse):
    text = FILE + "  alexnet: {procedure: end_to_end, model: {name: alexnet}, recipe: paper}\n"
    assert refuse(text, "training.epochs=2") == [
        f"--set training.epochs=2: training.epochs: the milestones {milestones} are never passed: training.epochs is "
        f"2; so says the recipe of the variant {variant}: give it its own training.schedule, such as {{name: constant}}"
        for variant, milestones in (("vgg", "30, 50, 65"), ("alexnet", "30, 60, 80"))
    ]


def test_what_a_recipe_replaces_of_the_file_is_noted(load):
    text = FILE.replace("recipe: paper", "recipe: short\n    training: {epochs: 3}")
    assert load(text).notes == (
        "the recipe short of vgg16_bn in the variant vgg replaces the file's training.optimizer, "
        "training.label_smoothing, training.augment, training.clip_grad_norm",
    )
    [note] = load(FILE, "training.label_smoothing=0.2", "training.epochs=99").notes
    assert "training.optimizer" in note and "label_smoothing" not in note and "epochs" not in note
    start, end = FILE.index("training:"), FILE.index("variants:")
    assert load(FILE[:start] + FILE[end:]).notes == ()
    assert load(FILE.replace("    recipe: paper\n", "")).notes == ()


def test_a_recipe_of_an_unknown_network_says_only_that_the_network_is_unknown(refuse):
    lines = refuse(FILE.replace("vgg16_bn", "vgg17_bn"))
    assert len(lines) == 1 and "no network is named 'vgg17_bn'" in lines[0]


def test_no_recipe_mirrors_digits():
    for recipe in zoo.describe("lenet5").recipes.values():
        assert "flip" not in recipe.training["augment"]
