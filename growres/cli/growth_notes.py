"""What is said below a growth's steps, so that their errors are not read as what they are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from growres.cli import figures
from growres.report.lineage import is_screened_out

if TYPE_CHECKING:
    from growres.cli.tables import Row
    from growres.store import TrialRow

SCREENED_OUT = "*"
"""Stands behind the error of a proposal that was screened out."""


def print_notes(trial: TrialRow, steps: Sequence[Row]) -> None:
    """Writes the sentences below what shows the steps, each a paragraph."""
    for note in growth_notes(trial, steps):
        print(f"\n{note}")


def growth_notes(trial: TrialRow, steps: Sequence[Row]) -> list[str]:
    """Sentences, none of an ordinary growth.

    Args:
        steps: the trial's growth steps, as the store has them.
    """
    growth: dict[str, Any] = trial.config.get("growth") or {}
    notes = []
    if any(step["num_replicates"] > 1 for step in steps):
        notes.append(
            "The errors are those of the trial's own seed. The verdict on a proposal that was trained with several "
            "seeds rests on all of them: its reason gives the means."
        )
    if any(is_screened_out(step) for step in steps):
        notes.append(
            f"{SCREENED_OUT}: screened out. Only the new block was trained{_for_epochs(growth)}: compare it with "
            f"others of its round, not with whole candidates or controls."
        )
    if any(step["kind"] == "remove" for step in steps):
        notes.append(
            "A step that takes a block away trains nothing. It compares networks whose batch norm statistics are taken "
            "anew, in one pass over the training images, so that the error before need not be the one that growing "
            "ended at. The test is against the grown network, not against the one before."
        )
    if (tail := growth.get("tail_epochs")) and trial.status == "succeeded":
        notes.append(
            f"After the last step the network trained for {figures.number_of(tail, 'epoch')} more (tail_epochs), and "
            f"ended at a val error of {figures.percent(trial.val_error)}."
        )
    return notes


def shown_reason(trial: TrialRow, steps: Sequence[Row]) -> str | None:
    """The trial's reason; that of a growth tells of the network before it was pruned, and then says so."""
    pruned = any(step["kind"] == "remove" and step["verdict"] == "accepted" for step in steps)
    if trial.status != "succeeded" or not pruned:
        return trial.reason
    return f"{trial.reason} (why growing ended; pruning left {trial.num_blocks})"


def _for_epochs(growth: dict[str, Any]) -> str:
    epochs = (growth.get("placement") or {}).get("screen_epochs")
    return "" if epochs is None else f", for {figures.number_of(epochs, 'epoch')}"
