from __future__ import annotations

from pathlib import Path

import pytest

import jobs
from growres.config.loading import load_experiment

PRESETS = sorted((Path(jobs.__file__).parent / "presets").glob("*.yaml"))


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_is_valid_and_named_after_its_file(path: Path) -> None:
    experiment = load_experiment(path).experiment
    assert experiment.name == path.stem
    assert experiment.trials


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_begins_with_its_lab_note(path: Path) -> None:
    note = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for part in (f"growres submit {path.stem}", "What it shows:", "What it costs:", "What to expect:"):
        assert any(part in line for line in note), part
    assert not any("XX" in line or "TODO" in line for line in note), "a figure is still missing"
