"""Fixtures that several parts share: a tiny real data set, and trial configurations over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from growres.config.experiment import TrialConfig
from growres.data.images import ImageData, ImageSplit
from growres.training.context import TrainingContext


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """What a trial on one CPU has; bit-for-bit comparisons hold for equal numbers of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GROWRES_HOME of its own for every test, so that none sees the user's store or another test's."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GROWRES_HOME", str(folder))
    monkeypatch.delenv("GROWRES_DATABASE_URL", raising=False)
    return folder


@pytest.fixture(scope="session")
def images() -> ImageData:
    """Three classes of noisy 8x8 grey images that a small network learns in a few epochs."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(0, 100, (3, 1, 8, 8), generator=generator)

    def split(size: int) -> ImageSplit:
        labels = torch.arange(size) % 3
        noise = torch.randint(0, 156, (size, 1, 8, 8), generator=generator)
        return ImageSplit(images=(patterns[labels] + noise).to(torch.uint8), labels=labels)

    train, validation, test = split(192), split(60), split(60)
    pixels = train.images.double() / 255
    return ImageData(
        name="patterns",
        class_names=("a", "b", "c"),
        fingerprint="patterns",
        train=train,
        validation=validation,
        test=test,
        mean=(pixels.mean().item(),),
        std=(pixels.std().item(),),
    )


TrialMaker = Callable[..., TrialConfig]


@pytest.fixture
def make_trial() -> TrialMaker:
    """A quick trial; keyword arguments replace whole sections, `training` and `growth` are merged into the defaults."""

    def make(**sections: Any) -> TrialConfig:
        training: dict[str, Any] = {
            "epochs": 3,
            "batch_size": 16,
            "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
            "schedule": {"name": "cosine", "warmup_epochs": 1},
            "augment": ["crop"],
        }
        growth: dict[str, Any] = {
            "seed_epochs": 2,
            "epochs_per_step": 2,
            "control": True,
            "stop": {"max_epochs": 14},
        }
        training |= sections.pop("training", {})
        growth |= sections.pop("growth", {})
        procedure = sections.pop("procedure", "end_to_end")
        return TrialConfig.model_validate(
            {
                "variant": "tiny",
                "seed": 0,
                "dataset": {"source": "digits"},
                "procedure": procedure,
                "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 8]},
                "training": training,
                "growth": growth if procedure == "growth" else None,
                **sections,
            }
        )

    return make


@pytest.fixture
def make_context(images: ImageData) -> Callable[[TrialConfig], TrainingContext]:
    """The context of a trial over the tiny data set, on the CPU."""
    return lambda trial: TrainingContext.of(trial, images, torch.device("cpu"))
