"""Where a grown network comes from: the networks that it was in turn, and at each what was proposed and declined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedStep:
    """A growth step: what was proposed to the network that `parent_step` left, and what became of it."""

    step: int
    parent_step: int
    """0 is the network before any growth."""
    kind: str
    """append or remove (a block)."""
    stage: int
    block: int
    val_error_before: float | None
    val_error_candidate: float | None
    """None where the candidate diverged."""
    val_error_control: float | None
    p_value: float | None
    verdict: str
    reason: str
    num_params: int
    """Of the candidate."""
    is_screened_out: bool
    """Whether the error is that of the new block trained alone, to choose among the proposals of a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """A network that the final one has been, or is: the shallow one, or one that an accepted step made."""

    accepted: ProposedStep | None
    """None for the network before any growth."""
    num_blocks: int | None
    num_params: int | None
    val_error: float | None
    declined: list[ProposedStep] = field(default_factory=list)
    """What was proposed to it and not accepted, in order."""


def is_screened_out(step: Row) -> bool:
    """Whether a proposal was passed over for another of its round before it was trained as a whole."""
    # Only what was trained as a whole is measured on the training split too.
    return step["val_error_candidate"] is not None and step["train_error_candidate"] is None


def ancestors(growth_curve: Sequence[Row], growth_steps: Sequence[Row]) -> list[Ancestor]:
    """The trunk of the tree, the shallow network first. Every growth step is in it once: accepted, or declined.

    Args:
        growth_curve, growth_steps: of one trial, as the store has them; the curve begins with step 0.
    """
    first = growth_curve[0]
    trunk = [_ancestor(None, first)]
    state_after = {row["step"]: row for row in growth_curve}
    parent_step = 0
    for _, proposals in groupby(growth_steps, key=lambda row: row["round"]):  # of a round, all have the same parent
        parent, begun_from = trunk[-1], parent_step
        for row in proposals:
            proposed = _proposed(row, begun_from)
            if proposed.verdict == "accepted":
                trunk.append(_ancestor(proposed, state_after[proposed.step]))
                parent_step = proposed.step
            else:
                parent.declined.append(proposed)
    return trunk


def _ancestor(accepted: ProposedStep | None, state: Row) -> Ancestor:
    return Ancestor(
        accepted=accepted,
        num_blocks=state["num_blocks"],
        num_params=state["num_params"],
        val_error=state["val_error"],
    )


def _proposed(row: Row, parent_step: int) -> ProposedStep:
    copied = (
        "step",
        "kind",
        "stage",
        "block",
        "val_error_before",
        "val_error_candidate",
        "val_error_control",
        "p_value",
    )
    return ProposedStep(
        **{name: row[name] for name in copied},
        parent_step=parent_step,
        verdict=row["verdict"],
        reason=row["reason"],
        num_params=row["num_params_after"],
        is_screened_out=is_screened_out(row),
    )
