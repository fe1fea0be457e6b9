"""What a trial's networks said of whole splits, read back only where it is what the trial wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from growres.store import Store
from growres.training.checkpoint import check_written
from growres.training.outputs import ImageOutputs, load_outputs


def recorded_digests(store: Store, trial_id: str) -> dict[str, str]:
    """By a file's name in the trial's folder of outputs, the sha256 that it had when it was written."""
    return {
        Path(artifact["path"]).name: artifact["sha256"]
        for artifact in store.artifacts(trial_id)
        if artifact["kind"] == "outputs"
    }


def read_outputs(path: Path, trial_id: str, digests: Mapping[str, str]) -> ImageOutputs:
    """The outputs in a file of the trial, which is to the last bit the one that it wrote.

    Args:
        digests: what `recorded_digests` gave.
    Raises:
        CheckpointError: if the file is not there, or is another.
    """
    if path.is_file():
        check_written(path, trial_id, {digest for name, digest in digests.items() if name == path.name})
    return load_outputs(path)
