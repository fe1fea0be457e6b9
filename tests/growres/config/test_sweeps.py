"""Sweeps expand in the file's order, and draw the same numbers at each reading."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

SWEEP = "sweep: {training.optimizer.lr: {grid: [0.05, 0.1]}}"


def points(loaded, variant="resnet14"):
    return [trial.sweep_point for trial in loaded.experiment.trials if trial.variant == variant and trial.seed == 0]


def test_grids_combine_in_the_order_of_the_file(digits, load):
    sweep = "sweep: {training.epochs: {grid: [5, 6]}, training.optimizer.lr: {grid: [0.1, 0.2, 0.3]}}"
    assert [tuple(point.values()) for point in points(load(digits.replace(SWEEP, sweep)))] == [
        (epochs, lr) for epochs in (5, 6) for lr in (0.1, 0.2, 0.3)
    ]


def test_every_combination_of_the_grids_sees_the_same_draws(digits, load):
    sweep = "samples: 3\n    sweep: {training.epochs: {grid: [5, 6]}, training.optimizer.lr: {loguniform: [1e-3, 1]}}"
    drawn = points(load(digits.replace(SWEEP, sweep)))
    assert [point["training.epochs"] for point in drawn] == [5, 5, 5, 6, 6, 6]
    lrs = [point["training.optimizer.lr"] for point in drawn]
    assert lrs[:3] == lrs[3:]
    assert len(set(lrs)) == 3


def test_draws_keep_to_their_bounds_and_fill_them(digits, load):
    sweep = """samples: 400
    sweep:
      training.optimizer.lr: {loguniform: [1e-4, 1.0]}
      training.label_smoothing: {uniform: [0.1, 0.3]}
      training.epochs: {randint: [3, 6]}
      training.precision: {choice: [fp32, bf16]}"""
    drawn = points(load(digits.replace(SWEEP, sweep)))
    lr = [point["training.optimizer.lr"] for point in drawn]
    smoothing = [point["training.label_smoothing"] for point in drawn]
    assert 1e-4 <= min(lr) < 2e-4 and 0.5 < max(lr) <= 1
    assert -2.3 < sum(map(math.log10, lr)) / len(lr) < -1.7, "uniform in the logarithm"
    assert 0.1 <= min(smoothing) < 0.11 and 0.29 < max(smoothing) <= 0.3
    assert {point["training.epochs"] for point in drawn} == {3, 4, 5}
    assert {point["training.precision"] for point in drawn} == {"fp32", "bf16"}


def test_the_trial_has_what_its_sweep_point_says(digits, load):
    sweep = """samples: 5
    sweep:
      training.optimizer: {grid: [{name: adamw, lr: 1e-3}, {lr: 2}]}
      training.batch_size: {randint: [8, 99]}
      model.name: {choice: [resnet14, resnet20]}"""
    trials = [trial for trial in load(digits.replace(SWEEP, sweep)).experiment.trials if trial.variant == "resnet14"]
    assert len(trials) == 2 * 5 * 2
    for trial in trials:
        assert trial.training.batch_size == trial.sweep_point["training.batch_size"]
        assert trial.model.name == trial.sweep_point["model.name"]
        assert trial.training.optimizer.lr == trial.sweep_point["training.optimizer"]["lr"]
    assert {trial.training.optimizer.name for trial in trials} == {"adamw", "sgd"}


def test_a_sweep_may_give_keys_that_nothing_else_does(digits, load):
    sweep = "sweep: {training.clip_grad_norm: {grid: [1, 2]}, model: {grid: [{name: resnet14}, {name: lenet5}]}}"
    text = digits.replace(SWEEP, sweep).replace("    model: {name: resnet14}\n", "")
    assert [point["model"]["name"] for point in points(load(text))] == ["resnet14", "lenet5"] * 2


def test_growth_and_the_models_arguments_can_be_swept(digits, load):
    sweep = "\n    sweep: {growth.stop.patience: {grid: [1, 2]}, model.blocks: {choice: [[1, 1], [2, 2]]}}"
    text = digits.replace("target_error: 0.01}", f"target_error: 0.01}}{sweep}")
    trials = [trial for trial in load(text).experiment.trials if trial.variant == "simons" and trial.seed == 0]
    assert [trial.growth.stop.patience for trial in trials] == [1, 2]
    assert all(trial.model.kwargs["blocks"] == trial.sweep_point["model.blocks"] for trial in trials)


DRAWN = "samples: 2\n    sweep: {training.optimizer.lr: {uniform: [0.1, 1]}, training.epochs: {randint: [2, 99]}}"


def test_draws_depend_on_names_key_and_sample_alone(digits, load):
    text = digits.replace(SWEEP, DRAWN)
    drawn = points(load(text))
    assert points(load(text.replace("seeds: [0, 1]", "seeds: 7").replace("batch_size: 128", "batch_size: 64"))) == drawn
    assert points(load(text.replace("samples: 2", "samples: 5")))[:2] == drawn
    alone = points(load(text.replace("training.optimizer.lr: {uniform: [0.1, 1]}, ", "")))
    assert [point["training.epochs"] for point in alone] == [point["training.epochs"] for point in drawn]
    assert points(load(text.replace("name: digits", "name: other", 1))) != drawn
    assert points(load(text.replace("  resnet14:", "  resnet15:")), "resnet15") != drawn


def test_draws_are_the_same_in_another_process(digits, load, tmp_path):
    drawn = points(load(digits.replace(SWEEP, DRAWN)))
    code = (
        "from pathlib import Path; from growres.config.loading import load_experiment\n"
        "trials = load_experiment(Path('exp.yaml')).experiment.trials\n"
        "print([trial.sweep_point for trial in trials if trial.variant == 'resnet14' and trial.seed == 0])"
    )
    for hash_seed in ("1", "2"):
        env = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=env)
        assert done.stdout == f"{drawn}\n"


@pytest.mark.parametrize("bounds", ["[-1.7e308, 1.7e308]", "[5e-324, 1e-323]", "[0.1, 0.10000000000000002]"])
def test_extreme_bounds_are_kept(digits, load, refuse, bounds):
    kind = "loguniform" if "324" in bounds else "uniform"
    sweep = f"samples: 20\n    sweep: {{training.optimizer.lr: {{{kind}: {bounds}}}}}"
    text = digits.replace(SWEEP, sweep)
    if bounds.startswith("[-"):
        assert len(refuse(text)) == 1
        return
    low, high = (float(bound) for bound in bounds.strip("[]").split(","))
    assert all(low <= point["training.optimizer.lr"] <= high for point in points(load(text)))
