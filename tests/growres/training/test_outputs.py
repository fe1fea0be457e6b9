"""What a network says of every image of a split, and the file that keeps it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from growres.errors import CheckpointError
from growres.growth.network import growing_network
from growres.training.arm import ArmTraining
from growres.training.outputs import ImageOutputs, load_outputs


@pytest.fixture
def arm(make_trial, make_context) -> ArmTraining:
    """A network on its way, whose stem is frozen and in evaluation mode."""
    trial = make_trial()
    context = make_context(trial)
    network = growing_network(context.build({"name": trial.model.name, **trial.model.kwargs}))

    def select(module: nn.Module, epoch: int) -> None:
        module.train()
        network.stem.eval()

    arm = ArmTraining(context, network, architecture=network.architecture, epochs=2, select=select)
    list(arm.run())
    return arm


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_outputs_sum_up_to_what_evaluation_measures(arm, split: str) -> None:
    measured, outputs = arm.measure(split), arm.outputs(split)
    assert outputs.measurement.error == measured.error
    assert outputs.measurement.loss == pytest.approx(measured.loss, rel=1e-5)
    assert outputs.measurement.num_images == measured.num_images
    assert arm.validation.error == arm.outputs("validation").measurement.error


def test_each_image_has_its_label_its_loss_and_its_probabilities_in_the_splits_order(arm, images) -> None:
    outputs = arm.outputs("validation")
    num_images, num_classes = 60, 3
    assert np.array_equal(outputs.labels, images.validation.labels.numpy())
    assert outputs.probabilities.shape == (num_images, num_classes)
    assert outputs.losses.dtype == np.float64 and outputs.probabilities.dtype == np.float16
    np.testing.assert_allclose(outputs.probabilities.astype(float).sum(axis=1), 1.0, atol=2e-3)
    of_label = outputs.probabilities[np.arange(num_images), outputs.labels].astype(float)
    np.testing.assert_allclose(of_label, np.exp(-outputs.losses), rtol=2e-3, atol=1e-4)
    assert np.array_equal(outputs.wrong, outputs.predictions != outputs.labels)
    largest = outputs.probabilities.max(axis=1)
    assert np.array_equal(outputs.probabilities[np.arange(num_images), outputs.predictions], largest)


def test_looking_changes_neither_modes_nor_weights_nor_statistics(arm) -> None:
    modes = [module.training for module in arm.network.modules()]
    assert set(modes) == {True, False}
    before = {name: value.clone() for name, value in arm.network.state_dict().items()}
    arm.outputs("train")
    assert [module.training for module in arm.network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in arm.network.state_dict().items())


def test_a_file_gives_the_outputs_back_and_leaves_nothing_else_behind(arm, tmp_path: Path) -> None:
    outputs, path = arm.outputs("validation"), tmp_path / "folder" / "validation.npz"
    outputs.save(path)
    outputs.save(path)
    assert [file.name for file in path.parent.iterdir()] == ["validation.npz"]
    loaded = load_outputs(path)
    for name in ("labels", "predictions", "losses", "probabilities"):
        assert getattr(loaded, name).dtype == getattr(outputs, name).dtype
        assert np.array_equal(getattr(loaded, name), getattr(outputs, name))


@pytest.mark.parametrize("damage", ["absent", "truncated", "foreign", "pickled", "incomplete"])
def test_a_file_that_is_not_what_was_written_is_refused(arm, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "validation.npz"
    arm.outputs("validation").save(path)
    match damage:
        case "absent":
            path.unlink()
        case "truncated":
            path.write_bytes(path.read_bytes()[:200])
        case "foreign":
            path.write_bytes(b"not at all")
        case "pickled":
            np.savez(path, labels=np.array([{}], dtype=object))
        case "incomplete":
            np.savez(path, labels=np.zeros(3, dtype=np.int64))
    with pytest.raises(CheckpointError, match="Cannot read the outputs"):
        load_outputs(path)


def test_where_no_file_can_be_written_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    none = ImageOutputs(
        labels=np.zeros(0, dtype=np.int64), predictions=np.zeros(0, dtype=np.int64),
        losses=np.zeros(0), probabilities=np.zeros((0, 2), dtype=np.float16),
    )  # fmt: skip
    with pytest.raises(CheckpointError, match="Cannot write the outputs"):
        none.save(tmp_path / "taken" / "validation.npz")
