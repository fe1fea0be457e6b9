"""Fixtures that several parts share: a tiny real data set, and trial configurations over it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from growres.config.experiment import TrialConfig
from growres.data.images import ImageData, ImageSplit
from growres.store.copying import copy_store
from growres.store.database import resolve, resolve_argument
from growres.training.context import TrainingContext

pytest_plugins = ["tests.databases"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """What a trial on one CPU has; bit-for-bit comparisons hold for equal numbers of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as in a pipe: the terminal in which the tests began, and pytest-xdist, may say otherwise."""
    monkeypatch.delenv("COLUMNS", raising=False)


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


@pytest.fixture(scope="session")
def images_with_other_test_labels(images: ImageData) -> ImageData:
    """The same images, of which those of the test split are said to show other things."""
    assert images.test is not None
    labels = (images.test.labels + 1) % images.num_classes
    return dataclasses.replace(images, test=dataclasses.replace(images.test, labels=labels))


@pytest.fixture(scope="session")
def _trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GROWRES_HOME in which an experiment `tiny` on digits has succeeded: trial 1 grew, trial 2 is a LeNet-5."""
    from jobs.submission import submit

    spec = {
        "name": "tiny",
        "dataset": {"source": "digits", "limit": {"train": 300, "validation": 100, "test": 100}},
        "training": {"batch_size": 50, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}},
        "variants": {
            "grown": {
                "procedure": "growth",
                "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 4]},
                "growth": {"seed_epochs": 3, "epochs_per_step": 2, "stop": {"max_epochs": 9}},
            },
            "lenet5": {"procedure": "end_to_end", "model": {"name": "lenet5"}, "training": {"epochs": 1}},
        },
    }
    folder = tmp_path_factory.mktemp("trained")
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GROWRES_HOME", str(folder / "home"))
        environment.delenv("GROWRES_DATABASE_URL", raising=False)
        assert submit(folder / "spec.yaml", backend="inline").num_succeeded == 2
    return folder / "home"


@pytest.fixture
def move_in(home: Path, default_store: None) -> Callable[[Path], str]:
    """Copies another home, with the results of one experiment, into this test's own; gives the experiment's id."""

    def move(other: Path) -> str:
        shutil.copytree(other, home, dirs_exist_ok=True)
        if not resolve(None).embedded:
            copy_store(resolve_argument(str(home / "growres.db")), resolve(None))
        (run,) = (home / "runs").iterdir()
        return run.name

    return move


@pytest.fixture
def trained(move_in: Callable[[Path], str], _trained_home: Path) -> str:
    """The id of that experiment, in a copy of its home that is this test's own."""
    return move_in(_trained_home)


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
