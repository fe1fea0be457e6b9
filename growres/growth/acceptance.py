"""Whether a new block earned its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from growres.config.experiment import AcceptConfig
from growres.events import Verdict
from growres.training.loop import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a verdict may rest on: measurements over the whole validation split, in evaluation mode."""

    before: Measurement
    """The parent, as it was when the step began."""
    candidate: Measurement
    control: Measurement | None
    """The parent trained for the candidate's epochs without the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict with the figures that it rests on, in words."""

    verdict: Verdict
    reason: str
    p_value: float | None = None


class Acceptance(Protocol):
    """Judges a candidate."""

    def judge(self, comparison: Comparison) -> Judgement:
        """The verdict on the candidate."""
        ...


@dataclass(frozen=True, slots=True)
class ErrorDrop:
    """Accepted when the validation error fell by more than `min_drop`: step 2 of the Simons procedure, as it stands.

    It asks whether the network got better than its parent, not whether the block is the cause: see the control arm.
    """

    min_drop: float

    def judge(self, comparison: Comparison) -> Judgement:
        """Accepted or rejected; never undecided."""
        before, candidate = comparison.before, comparison.candidate
        drop = before.error - candidate.error
        accepted = drop > self.min_drop
        change = f"val_error {before.error:.4f} -> {candidate.error:.4f}"
        if accepted:
            reason = f"{change}: a drop of {drop:.4f}, more than {self.min_drop:g}"
        else:
            reason = f"{change}: no drop of more than {self.min_drop:g}"
        return Judgement(verdict="accepted" if accepted else "rejected", reason=reason)


def make_acceptance(config: AcceptConfig) -> Acceptance:
    """The rule that the configuration names."""
    return ErrorDrop(min_drop=config.min_drop)
