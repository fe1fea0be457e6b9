from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import growres
import zoo
from growres.errors import ConfigError, ExportError
from growres.trained import export as exporting
from growres.trained.export import METADATA, export
from growres.trained.model import TrainedModel

ABSENT_ONNX = "the extra onnx is not installed"
IMAGES: dict[str, Any] = {
    "name": "x",
    "class_names": ["a", "b", "c"],
    "channels": 3,
    "image_size": 8,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
}


def batch(num_images: int, channels: int) -> Tensor:
    return torch.rand(num_images, channels, 8, 8, generator=torch.Generator().manual_seed(num_images))


RESIDUAL = {"name": "preact_resnet", "blocks": [2, 1], "widths": [4, 8]}


def model_of(architecture: dict[str, Any]) -> TrainedModel:
    torch.manual_seed(0)
    network = zoo.create_model(**architecture, num_classes=3, in_channels=3, image_size=8)
    return TrainedModel(network, architecture=architecture, images=IMAGES, source="x-1")


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return model_of(RESIDUAL)


def test_a_trials_pt2_file_gives_its_logits_for_any_number_of_images(trained: str, tmp_path: Path) -> None:
    trained_model = growres.load_model(f"{trained}-1")
    export(trained_model, tmp_path / "net.pt2")
    extra = {METADATA: ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra).module()
    for num_images in (1, 5):
        images = batch(num_images, 1)
        torch.testing.assert_close(program(images), trained_model(images), rtol=0, atol=0)
    assert json.loads(extra[METADATA])["class_names"] == list("0123456789")
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt2"]


@pytest.mark.parametrize("architecture", [RESIDUAL, {"name": "lenet5"}])  # LeNet-5's pooling is a sum, not a mean
def test_an_onnx_file_gives_the_same_logits_for_any_number_of_images(
    architecture: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason=ABSENT_ONNX)
    pytest.importorskip("onnxscript", reason=ABSENT_ONNX)
    runtime = pytest.importorskip("onnxruntime", reason=ABSENT_ONNX)
    model = model_of(architecture)
    export(model, tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    for num_images in (1, 5):
        images = batch(num_images, 3)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(images), rtol=1e-4, atol=1e-5)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata[METADATA])["class_names"] == ["a", "b", "c"]


def test_an_exported_checkpoint_loads_back_without_the_store(model: TrainedModel, tmp_path: Path) -> None:
    export(model, tmp_path / "net.pt")
    loaded = growres.load_model(tmp_path / "net.pt")
    assert torch.equal(loaded(batch(5, 3)), model(batch(5, 3)))
    assert loaded.class_names == model.class_names


class OtherWhenExported(nn.Module):
    def forward(self, images_NCHW: Tensor) -> Tensor:
        logits_NK = images_NCHW.flatten(start_dim=1)[:, :3]
        return 2 * logits_NK if torch.compiler.is_exporting() else logits_NK


def test_a_file_with_other_logits_is_never_written(tmp_path: Path) -> None:
    fickle = TrainedModel(OtherWhenExported(), architecture={"name": "fickle"}, images=IMAGES)
    with pytest.raises(ExportError, match="logits differ"):
        export(fickle, tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_a_file_that_exists_is_overwritten_only_when_asked(model: TrainedModel, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="it exists"):
        export(model, path)
    assert path.read_text() == "mine"
    export(model, path, overwrite=True)
    assert growres.load_model(path).class_names


@pytest.mark.parametrize(
    ("name", "message"), [("net.txt", "Allowed: .pt2"), ("net", "Allowed"), ("absent/net.pt", "there is no folder")]
)
def test_a_target_that_cannot_be_is_refused_before_any_work(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        exporting.check_target(tmp_path / name)


def test_onnx_without_its_libraries_says_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"without onnx, onnxscript, onnxruntime.*pip install 'growres\[onnx\]'"):
        exporting.check_target(tmp_path / "net.onnx")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match=r"Cannot export to /proc/net.pt2: nothing can be written in /proc"):
        exporting.check_target(Path("/proc/net.pt2"))


def test_asking_whether_a_file_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    exporting.check_target(tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())
