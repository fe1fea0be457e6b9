"""What is wrong with a file is said all at once, each mistake where it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from growres.config.experiment import Experiment, MultiStepSchedule, SgdConfig, TrialConfig
from growres.config.loading import LARGEST_FILE, load_experiment
from growres.errors import ConfigError

STOP = "stop: {max_blocks: 12, patience: 3, target_error: 0.01}"
SWEEP = "sweep: {training.optimizer.lr: {grid: [0.05, 0.1]}}"
RESNET = "variants.resnet14.sweep."

# What stands in the digits file; what stands there instead, ^ before the place of the error; path and message, a regex.
MISTAKES = [
    # keys
    (
        "  epochs: 20",
        "  epochs: 20\n  ^epoch: 3",
        "training.epoch: unknown key; allowed: epochs, .*, did you mean 'epochs'",
    ),
    ("momentum: 0.9", "^momentm: 0.9", "training.optimizer.momentm: unknown key; .*, did you mean 'momentum'?"),
    ("warmup_epochs: 1", "^fnal: 1", "training.schedule.fnal: unknown key; allowed: warmup_epochs, name, final_lr_fr"),
    ("  augment: [crop]", "  augment: [{name: crop, ^pad: 1}]", "training.augment.0.pad: .*, did you mean 'padding'?"),
    ("seeds:", "^seed:", "seed: unknown key; .*, did you mean 'seeds'?"),
    ("{name: lenet5}}", "{name: lenet5}, ^samlpes: 1}", "variants.lenet5.samlpes: .*, did you mean 'samples'?"),
    ("split_seed: 0", "^split_sed: 0", "dataset.split_sed: .*, did you mean 'split_seed'?"),
    (
        "  epochs: 20",
        "  epochs: 20\n  ^epochs: 2",
        "training.epochs: duplicate key 'epochs'; it first stands in line 5",
    ),
    ("name: digits\n", "^", "missing key 'name'"),
    ("  optimizer: {name: sgd, lr: 0.1", "  ^optimizer: {name: sgd", "training.optimizer: missing key 'lr'"),
    ("  optimizer: {name: sgd,", "  ^optimizer: {", "training.optimizer: missing key 'name'; allowed: sgd, adamw"),
    ("  simons:\n    procedure: growth", "  ^simons:", "variants.simons: missing key 'procedure'"),
    (
        "lenet5: {procedure: end_to_end, model: {name: lenet5}}",
        "^lenet5: {procedure: end_to_end}",
        "v.*: missing key 'model'",
    ),
    ("    growth:\n      seed_epochs: 5", "    ^growth:", "variants.simons.growth: missing key 'seed_epochs'"),
    # values
    ("epochs: 20", "epochs: ^0", r"training.epochs: must be a whole number of at least 1 \(seen 0\)$"),
    ("epochs: 20", "epochs: ^1e30", r"training.epochs: must be a whole number of at least 1 \(seen 1e\+30\)$"),
    ("epochs: 20", "epochs: ^2.5", r"training.epochs: must be a whole number of at least 1 \(seen 2.5\)$"),
    ("epochs: 20", "epochs: ^2e1", r"training.epochs: .*\(seen 20.0\), did you mean 20\?"),
    ("epochs: 20", "epochs: ^'20'", r"training.epochs: .*\(seen '20'\), write it without quotes"),
    ("epochs: 20", "epochs: ^true", r"training.epochs: .*a whole number .*\(seen true\)"),
    ("lr: 0.1", "lr: ^-1", r"training.optimizer.lr: must be a number greater than 0 \(seen -1\)"),
    ("lr: 0.1", "lr: ^.inf", "training.optimizer.lr: must be a finite number"),
    ("lr: 0.1", "lr: ^1e999", "training.optimizer.lr: must be a finite number"),
    ("epochs: 20", "epochs: ^99999999999999999999", "training.epochs: a whole number of more than 64 bits"),
    ("nesterov: true", "nesterov: ^on", r"training.*: must be true or false \(seen 'on'\), did you mean true\?"),
    ("name: digits\n", "name: ^12\n", "name: must be a name of letters.*, write it in quotes"),
    ("name: digits\n", "name: ^latest\n", "name: the name latest is reserved: it stands for the newest experiment"),
    ("name: digits\n", "name: ^a b\n", r"name: must be a name of letters.* \(seen 'a b'\)"),
    ("validation: 0.2", "validation: ^1.5", "dataset.validation: .* greater than 0 and less than 1 or a whole number"),
    ("test: 0.2", "test: 0.2, channels: ^2", r"dataset.channels: must be 1 or 3 \(seen 2\)"),
    (
        "train: all",
        "train: ^al",
        r"variants.simons.growth.train: must be 'all' or .* \(seen 'al'\), did you mean 'all'\?",
    ),
    ("source: digits", "source: ^digit", "dataset.source: .*, did you mean 'digits'?"),
    ("augment: [crop]", "augment: ^crop", r"training.augment: must be a list \(seen 'crop'\)"),
    ("augment: [crop]", "augment: [^3]", "training.augment.0: must be a mapping with a name, which is one of: crop, "),
    (
        "optimizer: {",
        "optimizer: ^sgd #",
        "training.optimizer: must be a mapping with a name, which is one of: sgd, adamw",
    ),
    ("procedure: end_to_end, ", "procedure: ^grwth, ", "variants.lenet5.procedure: .*, did you mean 'growth'?"),
    (STOP, "stop: ^3", r"variants.simons.growth.stop: must be a mapping \(seen 3\)"),
    (
        "lenet5: {procedure: end_to_end, model: {name: lenet5}}",
        "lenet5: ^[]",
        r"variants.lenet5: must be a mapping \(seen \[\]\)",
    ),
    ("seeds: [0, 1]", "seeds: [0, ^x]", "seeds.1: must be a whole number of at least 0"),
    ("seeds: [0, 1]", "seeds: ^[]", r"seeds: must be a whole number .* or a list of at least one value \(seen \[\]\)"),
    ("seeds: [0, 1]", "seeds: ^0", "seeds: must be a whole number of at least 1"),
    # names to choose from
    (
        "name: sgd",
        "name: ^sdg",
        "training.optimizer.name: unknown optimizer 'sdg'; allowed: sgd, adamw, rmsprop, sdlm, did you mean 'sgd'?",
    ),
    (
        "name: cosine",
        "name: ^cos",
        "training.schedule.name: unknown schedule 'cos'; allowed: constant, cosine, step, mul",
    ),
    ("[crop]", "[crop, ^flop]", "training.augment.1: unknown augmentation 'flop'; .*, did you mean 'flip'?"),
    (
        "name: error_drop",
        "name: ^err",
        "variants.simons.growth.accept.name: unknown acceptance rule 'err'; allowed: error_",
    ),
    ("name: resnet14", "name: ^resnte14", "variants.resnet14.model.name: no network is named 'resnte14'"),
    ("{name: lenet5}", "{name: lenet5, ^outptu: rbf}", "variants.lenet5.model.outptu: .*did you mean 'output'?"),
    ("{name: lenet5}", "{name: lenet5, output: ^rfb}", "variants.lenet5.model.output: .*did you mean 'rbf'?"),
    ("  lenet5: {", "  ^le net5: {", "variants.le net5: a variant must have a name of letters"),
    # rules over several keys
    (
        "training:                       # defaults of every variant; a variant may override any key\n  epochs: 20\n",
        "^training:\n",
        "training: the procedure end_to_end needs the key 'epochs' here",
    ),
    (
        "{procedure: end_to_end, model",
        "{procedure: end_to_end, ^growth: {seed_epochs: 1, epochs_per_step: 1, "
        "stop: {patience: 1}}, training: {schedule: {name: constant}}, model",
        "variants.lenet5.growth: .* takes no growth",
    ),
    ("  resnet14:\n    procedure: end_to_end", "  ^resnet14:\n    procedure: growth", "v.*14: missing key 'growth'"),
    (STOP, "^stop: {}", "variants.simons.growth.stop: needs at least one of its keys"),
    (
        "name: preact_resnet, blocks: [1, 1], widths: [16, 32]",
        "name: ^lenet5",
        "variants.simons.model.name: .* no residual",
    ),
    *(
        (
            "name: preact_resnet, blocks: [1, 1], widths: [16, 32]",
            f"name: resnet, blocks: [1, 1], widths: [16, 32], {key}: ^{value}",
            f"variants.simons.model.{key}: with {key}: {value}, .*; the initialiser zero_branch needs",
        )
        for key, value in [("shortcut", "option_c"), ("h", "dropout"), ("f", "bn_after"), ("f", "relu_before")]
    ),
    (
        "{name: round_robin}",
        "{name: round_robin, stages: [0, ^2]}",
        ".*stages.1: there is no stage 2; .* stages are 0 to 1",
    ),
    (
        "momentum: 0.9, nesterov: true",
        "momentum: 0, nesterov: ^true",
        "training.optimizer.nesterov: .*a momentum greater",
    ),
    ("warmup_epochs: 1", "warmup_epochs: ^20", r"training.schedule.warmup_epochs: .* less than training.epochs \(20\)"),
    ("warmup_epochs: 1", "warmup_epochs: ^5", r"training.schedule.warmup_epochs: .* than growth.epochs_per_step \(5\)"),
    ("cosine, warmup_epochs: 1", "multistep, milestones: [2, ^2]", "training.*milestones.1: milestones must rise"),
    (
        "cosine, warmup_epochs: 1",
        "multistep, milestones: [2, 4], factor: ^[0.1, 0.2, 0.3]",
        "training.schedule.factor: there are 3 factors and 2 milestones; give one each",
    ),
    ("[crop]", "[{name: resized_crop, area: ^[0.5, 0.2]}]", r"training.augment.0.area: .* \(0.5\) must not be greater"),
    ("[crop]", "[{name: resized_crop, area: [^0, 0.2]}]", "training.augment.0.area.0: must be a number greater than 0"),
    (
        "cosine, warmup_epochs: 1",
        "multistep, milestones: [2, ^5]",
        r"training.*milestones.1: the milestone 5 is never passed: growth.seed_epochs is 5, growth.epochs_per_step is",
    ),
    (
        "cosine, warmup_epochs: 1",
        "step, every_epochs: ^5",
        "training.schedule.every_epochs: the learning rate would never fall: every_epochs is 5, growth.seed_epochs is",
    ),
    (
        STOP,
        "stop: {max_epochs: ^4}",
        r"variants.simons.growth.stop.max_epochs: .* \(4\) must not be less than growth.seed_epochs \(5\)",
    ),
    (
        "name: sgd, lr: 0.1, momentum: 0.9, nesterov: true",
        "name: adamw, lr: 0.1, betas: [0.9, ^1.0]",
        r"training.optimizer.betas.1: must be a number of at least 0 and less than 1 \(seen 1.0\)",
    ),
    ("[crop]", "[crop, flip, ^crop]", "training.augment.2: crop stands in the list twice"),
    ("dataset: {source: digits,", "^dataset: {source: hub,", "dataset: missing key 'path': the source hub reads"),
    ("test: 0.2", "test: 0.2, ^path: x", "dataset.path: the source digits takes no path"),
    ("seeds: [0, 1]", "seeds: [0, 1, ^0]", "seeds.2: the seed 0 stands in the list twice"),
    (
        "seeds: [0, 1]",
        "scheduler: {name: asha, max_epochs: 3, grace_epochs: ^4}",
        "scheduler.grace_epochs: .*not be greater",
    ),
    # sweeps
    ("[0.05, 0.1]", "[0.05, ^-1]", RESNET + "training.optimizer.lr.grid.1: must be a number greater than 0"),
    ("[0.05, 0.1]", "[0.05, ^0.05]", RESNET + "training.optimizer.lr.grid.1: stands in the list twice"),
    ("[0.05, 0.1]", "^[]", RESNET + "training.optimizer.lr.grid: must be a list of at least one value"),
    (SWEEP, "sweep: {^training.optimzer.lr: {grid: [1]}}", RESNET + ".*, did you mean 'training.optimizer.lr'"),
    (SWEEP, "sweep: {^lr: {grid: [1]}}", RESNET + "lr: .*, did you mean 'training.optimizer.lr'"),
    (
        SWEEP,
        "sweep: {^dataset.split_seed: {grid: [1]}}",
        RESNET + "dataset.*: .* trials of an experiment share its data",
    ),
    (
        SWEEP,
        "sweep: {training.optimizer.lr: {grid: [1]}, ^training.optimizer: {grid: [{}]}}",
        RESNET + "t.*: overlaps with",
    ),
    (SWEEP, "sweep: {^training: {optimizer: {grid: [1]}}}", RESNET + "training: .* the whole path as one key"),
    (SWEEP, "sweep: {^training.optimizer.lr: {gird: [1]}}", RESNET + ".*exactly one of: grid, .*did you mean 'grid'?"),
    (SWEEP, "sweep: {training.optimizer.lr: ^3}", RESNET + "training.optimizer.lr: must be a mapping"),
    (SWEEP, "sweep: {training.optimizer.lr: {uniform: ^[2, 1]}}", RESNET + r".*: the first bound \(2.0\) must be less"),
    (SWEEP, "sweep: {training.optimizer.lr: {loguniform: [^0, 1]}}", RESNET + ".*loguniform.0: .* greater than 0"),
    (SWEEP, "sweep: {training.epochs: {randint: [2, ^2.5]}}", RESNET + "training.epochs.randint.1: .*a whole number"),
    (
        SWEEP,
        "sweep: {training.optimizer.lr: {uniform: ^[-2, -1]}}\n    samples: 9",
        RESNET + ".*: must be .* greater than 0",
    ),
    (SWEEP, "samples: ^2", "variants.resnet14.samples: nothing is drawn"),
    (SWEEP, "sweep: {model.name: {grid: [resnet14, ^resnet15]}}", RESNET + "model.name.grid.1: .* named 'resnet15'"),
    (
        SWEEP,
        "sweep: {training.schedule.warmup_epochs: {grid: [1, ^30]}}",
        RESNET + ".*grid.1: .* less than training.epochs",
    ),
    (
        SWEEP,
        "sweep: {training.schedule: {grid: [{name: multistep, milestones: [5, ^20]}]}}",
        RESNET + ".*milestones.1: the milestone 20 is never passed: training.epochs is 20",
    ),
    (SWEEP, "sweep: {training.epochs: {grid: [^1, 30]}}", RESNET + r".*grid.0: warmup_epochs .* training.epochs \(1\)"),
    # YAML itself
    ("seeds: [0, 1]", "seeds: [0, 1\nx^: 1", "not valid YAML: expected ',' or ']'"),
    ("  epochs: 20", "^\tepochs: 20", "not valid YAML: .*; indent with spaces"),
    ("seeds: [0, 1]", "seeds: ^*nobody", "not valid YAML: found undefined alias"),
    ("seeds: [0, 1]", "seeds: ^!!python/name:os.system x", "seeds: the tag !!python/name:os.system is not supported"),
    ("seeds: [0, 1]", "seeds: ^!!int x", "seeds: 'x' is not of the tag !!int"),
    ("seeds: [0, 1]", "^[a]: 1", "a key must be a plain name"),
    ("seeds: [0, 1]", "<<: ^3", "<< takes a mapping, or a list of mappings"),
    ("name: digits\n", 'name: ^"a\\0b"\n', "name: must not hold null characters"),
    ("name: digits\n", 'name: ^"\\ud800"\n', "name: must not hold null characters or halves"),
    ("name: digits\n", "name: digits^\x07\n", r"the character '\\x07' is not allowed in YAML"),
    ("name: digits\n", "name: digits\n^---\nname: x\n", "not valid YAML: but found another document"),
]


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES)
def test_a_mistake_is_said_at_its_line_and_column(digits, refuse, old, new, expected):
    assert digits.count(old) >= 1
    marked = digits.replace(old, new, 1)
    before, _, after = marked.partition("^")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")

    lines = refuse(before + after)

    wanted = re.compile(rf"exp\.yaml:{line}:{column}: {expected}")
    assert [text for text in lines if wanted.match(text)], lines
    assert {text.split(": ")[0] for text in lines} == {f"exp.yaml:{line}:{column}"}, "nothing else is called wrong"


def test_every_mistake_of_a_file_is_said_in_one_go_in_the_order_of_the_file(refuse):
    lines = refuse(
        """\
name: two words
dataset: {source: digits, path: here}
seeds: [0, 0]
training:
  epoch: 3
  optimizer: {name: sgd, lr: fast, nesterov: true, momentum: 0}
  schedule: {name: cosine, warmup_epochs: 9}
  augment: [crop, crp, crop]
variants:
  simons:
    procedure: growth
    model: {name: lenet5}
    growth: {seed_epochs: 5, stop: {}}
    growth: {}
  resnet14:
    procedure: end_to_end
    model: {name: resnet15}
    sweep: {training.lr: {grid: [1]}}
resources: {cpu_per_trial: 1}
"""
    )
    assert [line.split(": ")[:2] for line in lines] == [
        ["exp.yaml:1:7", "name"],
        ["exp.yaml:2:27", "dataset.path"],
        ["exp.yaml:3:12", "seeds.1"],
        ["exp.yaml:4:1", "training"],  # end_to_end needs epochs
        ["exp.yaml:5:3", "training.epoch"],
        ["exp.yaml:6:30", "training.optimizer.lr"],
        ["exp.yaml:6:46", "training.optimizer.nesterov"],
        ["exp.yaml:7:43", "training.schedule.warmup_epochs"],
        ["exp.yaml:8:19", "training.augment.1"],
        ["exp.yaml:8:24", "training.augment.2"],
        ["exp.yaml:12:19", "variants.simons.model.name"],
        ["exp.yaml:13:5", "variants.simons.growth"],
        ["exp.yaml:13:30", "variants.simons.growth.stop"],
        ["exp.yaml:14:5", "variants.simons.growth"],
        ["exp.yaml:17:19", "variants.resnet14.model.name"],
        ["exp.yaml:18:13", "variants.resnet14.sweep.training.lr"],
        ["exp.yaml:19:13", "resources.cpu_per_trial"],
    ], "\n".join(lines)


def test_a_step_of_one_epoch_has_no_halves(digits, refuse):
    text = digits.replace("epochs_per_step: 5", "epochs_per_step: 1").replace("warmup_epochs: 1", "warmup_epochs: 0.5")
    [line] = refuse(text.replace("train: all", "train: new_block_then_all"))
    assert line.startswith("exp.yaml:16:24: variants.simons.growth.epochs_per_step: epochs_per_step (1) must be at")


def test_too_many_trials_are_refused_before_any_is_made(digits, refuse):
    [line] = refuse(digits, "seeds=10000")
    assert line.startswith("exp.yaml:10:1: variants: expand to 40000 trials (resnet14 20000, simons 10000, lenet5 1")
    grids = ", ".join(f"model.a{index}: {{grid: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}" for index in range(50))
    lines = refuse(digits.replace(SWEEP, f"sweep: {{{grids}}}"))
    assert any(line.startswith("exp.yaml:10:1: variants: expand to ") for line in lines)


def test_a_mistake_in_the_defaults_is_said_once_for_all_variants(digits, refuse):
    assert len(refuse(digits.replace("lr: 0.1", "lr: -1"))) == 1
    assert len(refuse(digits.replace("batch_size: 128", "batch: 128"))) == 1


def give_each_variant(text: str, entry: str) -> str:
    block = re.sub(r"^    procedure:", f"    {entry}\n    procedure:", text, flags=re.MULTILINE)
    return block.replace("{procedure:", f"{{{entry}, procedure:")


def test_a_mistake_in_defaults_that_every_variant_overrides_is_still_a_mistake(digits, refuse):
    text = digits.replace("warmup_epochs: 1", "warmup_epochs: -1")
    text = give_each_variant(text, "training: {schedule: {name: constant}}")
    [line] = refuse(text)
    assert line.startswith("exp.yaml:8:43: training.schedule.warmup_epochs: must be a number of at least 0")


# ------------------------------------------------------------------------------------------------------ what is read


def test_the_documented_file_expands_in_the_order_of_variants_points_and_seeds(digits, load):
    loaded = load(digits)
    assert [(trial.variant, trial.sweep_point, trial.seed) for trial in loaded.experiment.trials] == [
        ("simons", {}, 0),
        ("simons", {}, 1),
        ("lenet5", {}, 0),
        ("lenet5", {}, 1),
        ("resnet14", {"training.optimizer.lr": 0.05}, 0),
        ("resnet14", {"training.optimizer.lr": 0.05}, 1),
        ("resnet14", {"training.optimizer.lr": 0.1}, 0),
        ("resnet14", {"training.optimizer.lr": 0.1}, 1),
    ]
    assert [trial.training.optimizer.lr for trial in loaded.experiment.trials[4:]] == [0.05, 0.05, 0.1, 0.1]
    assert loaded.experiment.trials[0].training.optimizer.weight_decay == 1e-4
    assert loaded.experiment.trials[0].model.kwargs == {"blocks": [1, 1], "widths": [16, 32]}
    assert loaded.text == digits
    assert loaded.effective["variants"]["lenet5"] == {"procedure": "end_to_end", "model": {"name": "lenet5"}}


def test_an_experiment_and_each_trial_survive_json(digits, load):
    experiment = load(digits).experiment
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    for trial in experiment.trials:
        assert TrialConfig.model_validate(json.loads(json.dumps(trial.model_dump(mode="json")))) == trial


def test_a_variant_overrides_single_keys_of_the_defaults(digits, load):
    own = "training: {optimizer: {lr: 1}}"
    text = digits.replace("{procedure: end_to_end, model", f"{{procedure: end_to_end, {own}, model")
    [lenet5] = {trial.training for trial in load(text).experiment.trials if trial.variant == "lenet5"}
    assert lenet5.optimizer == SgdConfig(name="sgd", lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-4)
    assert lenet5.epochs == 20


def test_an_optimizer_of_another_name_inherits_nothing(digits, load):
    optimizer = "training: {optimizer: {name: adamw, lr: 1e-3}}"
    text = digits.replace("{procedure: end_to_end, model", f"{{procedure: end_to_end, {optimizer}, model")
    [lenet5] = {trial.training for trial in load(text).experiment.trials if trial.variant == "lenet5"}
    assert lenet5.optimizer.model_dump() == {"name": "adamw", "lr": 0.001, "betas": (0.9, 0.999), "weight_decay": 0.01}


def test_defaults_may_leave_to_the_variants_what_they_all_give(digits, load):
    text = digits.replace("{name: sgd, lr: 0.1,", "{").replace("grid: [0.05, 0.1]", "grid: [0.05]")
    text = text.replace("momentum: 0.9, nesterov: true, ", "")
    text = give_each_variant(text, "training: {optimizer: {name: sgd, lr: 1}}")
    assert {trial.training.optimizer.weight_decay for trial in load(text).experiment.trials} == {1e-4}


def test_anchors_and_merge_keys_are_read(digits, load):
    text = digits.replace("model: {name: lenet5}", "<<: *r").replace("  resnet14:\n", "  resnet14: &r\n")
    lenet, resnet = text.index("  lenet5:"), text.index("  resnet14:")
    end = text.index("resources:")
    text = text[:lenet] + text[resnet:end] + text[lenet:resnet] + text[end:]
    trials = load(text).experiment.trials
    assert [trial.model.name for trial in trials if trial.variant == "lenet5"] == ["resnet14"] * 4


@pytest.mark.parametrize(("seeds", "expected"), [("3", [0, 1, 2]), ("[7]", [7]), ("[2, 0]", [2, 0])])
def test_seeds_are_a_list_or_their_number(digits, load, seeds, expected):
    trials = load(digits.replace("[0, 1]", seeds, 1)).experiment.trials
    assert [trial.seed for trial in trials if trial.variant == "lenet5"] == expected


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "0.001", ".001", "1.0e-3", "+1e-3", "10e-4"])
def test_an_exponent_makes_a_number_everywhere(digits, load, number):
    text = digits.replace("lr: 0.1", f"lr: {number}").replace("weight_decay: 1e-4", f"weight_decay: {number}")
    text = text.replace("[0.05, 0.1]", f"[{number}, 2e0]").replace("min_drop: 0.0", f"min_drop: {number}")
    trials = load(text, f"training.label_smoothing={number}").experiment.trials
    assert trials[0].training.optimizer.lr == trials[0].training.optimizer.weight_decay == 0.001
    assert trials[0].training.label_smoothing == trials[0].growth.accept.min_drop == 0.001
    assert [trial.sweep_point["training.optimizer.lr"] for trial in trials[4:]] == [0.001, 0.001, 2.0, 2.0]


def test_multistep_and_cutout_by_mapping(digits, load):
    text = digits.replace("{name: cosine, warmup_epochs: 1}", "{name: multistep, milestones: [2, 4]}")
    training = load(text.replace("[crop]", "[{name: crop, padding: 2}, flip]")).experiment.trials[0].training
    assert training.schedule == MultiStepSchedule(name="multistep", milestones=(2, 4))
    assert [augmentation.model_dump() for augmentation in training.augment] == [
        {"name": "crop", "padding": 2},
        {"name": "flip"},
    ]


def test_the_rules_of_one_source_are_not_those_of_another(digits, load, refuse):
    keys = "source: hub, path: ylecun/mnist, subset: a, revision: main, label_column: y"
    hub = digits.replace("source: digits", keys)
    assert load(hub).experiment.dataset.path == "ylecun/mnist"
    lines = refuse(hub.replace("source: hub", "source: parquet"))
    assert [line.split(": ")[1] for line in lines] == ["dataset.subset", "dataset.revision"]


def test_a_milestone_that_one_arm_of_a_growth_passes_is_allowed(digits, load):
    text = digits.replace("{name: cosine, warmup_epochs: 1}", "{name: multistep, milestones: [2, 8]}")
    assert load(text.replace("seed_epochs: 5", "seed_epochs: 9")).experiment.trials


def test_a_budget_that_the_seed_epochs_use_up_is_allowed(digits, load):
    assert load(digits.replace(STOP, "stop: {max_epochs: 5}")).experiment.trials[0].growth.stop.max_epochs == 5


# -------------------------------------------------------------------------------------- models against the images


@pytest.fixture
def refuse_models(load):
    """The lines with which a text's models are refused for images of some kind."""

    def lines_of(text, *overrides, num_classes=10, in_channels=1, image_size=8):
        with pytest.raises(ConfigError) as refusal:
            load(text, *overrides).check_models(num_classes=num_classes, in_channels=in_channels, image_size=image_size)
        return str(refusal.value).splitlines()

    return lines_of


def test_models_that_suit_the_images_pass(digits, load):
    load(digits).check_models(num_classes=10, in_channels=1, image_size=8)  # raises nothing


def test_a_model_that_cannot_be_made_for_the_images_is_said_once_where_it_is_named(digits, refuse_models):
    text = digits.replace("blocks: [1, 1], widths: [16, 32]", f"blocks: {[1] * 8}, widths: {[2] * 8}")
    text = text.replace("{name: lenet5}", "{name: lenet5, output: rbf}")
    too_deep, wrong_output = refuse_models(text, num_classes=3)
    assert re.match(r"exp\.yaml:13:42: variants\.simons\.model\.blocks: images of 8x8 are too small", too_deep)
    assert wrong_output == (
        "exp.yaml:23:65: variants.lenet5.model.output: lenet5 with output rbf has codes for the 10 digits only, "
        "and there are 3 classes; give it output: linear"
    )


def test_a_swept_model_that_cannot_be_made_for_the_images_is_said_where_the_sweep_names_it(digits, refuse_models):
    [line] = refuse_models(digits.replace(SWEEP, "sweep: {model.name: {grid: [lenet5, resnet14]}}"), image_size=3)
    assert line.startswith("exp.yaml:27:41: variants.resnet14.sweep.model.name.grid.1: images of 3x3 are too small")


def test_an_override_that_makes_the_images_and_the_model_clash_is_blamed(digits, refuse_models):
    name = "variants.lenet5.model.name=resnet20"
    assert any(line.startswith(f"--set {name}: ") for line in refuse_models(digits, name, image_size=3))
    text = digits.replace("{name: lenet5}", f"{{name: resnet, blocks: {[1] * 8}, widths: {[2] * 8}}}", 1)
    [line] = refuse_models(text, "dataset.image_size=8")
    assert line.startswith("--set dataset.image_size=8: dataset.image_size: images of 8x8 are too small for resnet")
    text = digits.replace("{name: lenet5}", "{name: lenet5, output: rbf}")
    [line] = refuse_models(text, "dataset.image_size=8", num_classes=3)
    assert line.startswith("exp.yaml:23:65: variants.lenet5.model.output: "), "another size would not help"


# ------------------------------------------------------------------------------------------- what is no experiment


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "exp.yaml:1:1: is empty"),
        (b"# only a comment\n", "exp.yaml:1:1: is empty"),
        (b"- a\n- b\n", "exp.yaml:1:1: must be a mapping"),
        (b"just text", "exp.yaml:1:1: must be a mapping"),
        (b"name: \xff\n", "exp.yaml:1:7: the byte 0xff is not UTF-8"),
        ("\ufeffname: é".encode() + b"\xe9\n", "exp.yaml:1:8: the byte 0xe9 is not UTF-8"),
        ("name: x".encode("utf-16"), "exp.yaml:1:1: the byte 0xff|exp.yaml: is not text but binary"),
        (b"\x7fELF\0\0\0", "exp.yaml: is not text but binary"),
        (b"#" * (LARGEST_FILE + 1), "exp.yaml: is larger than"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_in_one_line(refuse, content, expected):
    [line] = [line for line in refuse(content) if "missing key" not in line]
    assert re.match(expected, line), line


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path):
    for path, reason in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"{path}: cannot be read: {reason}"):
            load_experiment(path)


def test_control_characters_of_the_file_never_reach_the_terminal(digits, refuse):
    text = digits.replace("name: digits\n", 'name: "\\e[31m\\u202e\\n"\n"\\e]0;x\\a": 1\n')
    lines = refuse(text, "training.\x1b[2J=1")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_reading_an_experiment_needs_neither_torch_nor_ray():
    code = (
        "import sys, growres.config.loading, growres.config.schema, growres.config.expansion\n"
        "print({'torch', 'ray', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_key_of_a_variant_at_the_top_of_the_file_is_sent_where_it_belongs(digits, load):
    with pytest.raises(ConfigError, match=r"exp\.yaml:\d+:1: sweep: unknown key; .*; sweep belongs in a variant"):
        load(digits + "\nsweep: {training.epochs: {grid: [1, 2]}}\n")
