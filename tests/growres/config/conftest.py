"""The experiment file of the documentation, and what the loader says of a changed copy of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from growres.config.loading import LoadedExperiment, load_experiment
from growres.errors import ConfigError

DIGITS = """\
name: digits
dataset: {source: digits, validation: 0.2, test: 0.2, split_seed: 0}
seeds: [0, 1]
training:                       # defaults of every variant; a variant may override any key
  epochs: 20
  batch_size: 128
  optimizer: {name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-4}
  schedule: {name: cosine, warmup_epochs: 1}
  augment: [crop]
variants:
  simons:
    procedure: growth
    model: {name: preact_resnet, blocks: [1, 1], widths: [16, 32]}
    growth:
      seed_epochs: 5            # step 1
      epochs_per_step: 5        # step 2
      placement: {name: round_robin}
      initialiser: {name: zero_branch}
      train: all                # all | new_block | new_block_then_all
      accept: {name: error_drop, min_drop: 0.0}
      control: false
      stop: {max_blocks: 12, patience: 3, target_error: 0.01}
  lenet5: {procedure: end_to_end, model: {name: lenet5}}
  resnet14:
    procedure: end_to_end
    model: {name: resnet14}
    sweep: {training.optimizer.lr: {grid: [0.05, 0.1]}}
resources: {cpus_per_trial: 1, gpus_per_trial: 0}
"""

Load = Callable[..., LoadedExperiment]
Refuse = Callable[..., list[str]]


@pytest.fixture
def digits() -> str:
    """A file that is right."""
    return DIGITS


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads a text as the file exp.yaml, with any overrides."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str | bytes, *overrides: str) -> LoadedExperiment:
        content = text if isinstance(text, bytes) else text.encode()
        Path("exp.yaml").write_bytes(content)
        return load_experiment(Path("exp.yaml"), overrides)

    return load_text


@pytest.fixture
def refuse(load: Load) -> Refuse:
    """The lines with which a text is refused."""

    def lines_of(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as refusal:
            load(text, *overrides)
        return str(refusal.value).splitlines()

    return lines_of
