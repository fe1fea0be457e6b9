"""A growth as its trial left it in the store, made into the plain numbers that analyses and pictures take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from growres.analysis.points import Quantity, Series
from growres.errors import AnalysisError
from growres.report.lineage import is_screened_out

if TYPE_CHECKING:
    from growres.store import Store, TrialRow

Row = Mapping[str, Any]
NetworkVerdict = Literal["start", "accepted", "rejected", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrownNetwork:
    """The shallow network, or a proposal: the network that it made, whatever became of it."""

    step: int
    """0 is the shallow network."""
    kind: str
    """append; remove where a grown network was pruned."""
    verdict: NetworkVerdict
    stage: int | None
    """Of the block; None of the shallow network."""
    num_blocks: int | None
    """None where the configuration does not say how many there were at the start, and the trial has not finished."""
    val_error: float | None
    """None where the candidate diverged."""
    val_error_before: float | None
    """Of its parent; None of the shallow network."""
    val_error_control: float | None
    val_loss: float | None
    train_flops_total: int | None
    """Spent by its trial when the verdict fell, rejected proposals and control arms included."""
    is_screened_out: bool
    """Whether it was passed over for another proposal of its round before it was trained as a whole."""

    @property
    def is_grown(self) -> bool:
        """Whether it counts for a decay law: measured whole, at so many blocks, by growing."""
        return self.kind == "append" and self.val_error is not None and not self.is_screened_out


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGrowth:
    """All that the analyses of one trial rest on."""

    trial: TrialRow
    host: str | None
    num_validation_images: int | None
    """None where the experiment does not say."""
    networks: list[GrownNetwork]
    """The shallow one first, then the proposals in their order."""
    growth_steps: list[dict[str, Any]]
    epochs: list[dict[str, Any]]
    outputs: Path
    """The folder of what the networks said of whole splits; it may not be there."""
    digests: Mapping[str, str]
    """Of the files in it, as the store has them: see `growres.report.outputs`."""

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is to come."""
        return self.trial.status == "succeeded"

    @property
    def accepted(self) -> list[GrownNetwork]:
        """The shallow network and each that took its place, in order; not what pruning made of the last."""
        return [one for one in self.networks if one.kind == "append" and one.verdict in ("start", "accepted")]

    def series(self, series: Series, quantity: Quantity) -> list[GrownNetwork]:
        """The networks that a decay law is fitted to, those without a value left out."""
        chosen = self.networks if series == "all proposals" else self.accepted
        return [one for one in chosen if one.is_grown and value_of(one, quantity) is not None]

    def setting(self, *keys: str) -> Any:
        """A value of the trial's configuration; None where it is not set."""
        value: Any = self.trial.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value


def value_of(network: GrownNetwork, quantity: Quantity) -> float | None:
    """Its validation error, a fraction, or its validation loss."""
    return network.val_error if quantity == "error" else network.val_loss


def read_growth(store: Store, reference: str) -> StoredGrowth:
    """A trial with its steps and epochs, as far as it is.

    Raises:
        NotFoundError: if there is no such trial.
        AnalysisError: if it does not grow, or has not trained its first network yet.
    """
    from growres.home import run_folder
    from growres.report.outputs import recorded_digests
    from growres.training.checkpoint import outputs_folder

    trial = store.find_trial(reference)
    if trial.procedure == "end_to_end":
        raise AnalysisError(
            f"Cannot analyse trial {trial.id}: it was trained end to end, and nothing grew. "
            f"Compare it with others: growres compare {trial.experiment_id}"
        )
    curve, steps = store.growth_curve(trial.id), store.growth_steps(trial.id)
    if not curve or curve[0]["val_error"] is None:
        raise AnalysisError(
            f"Cannot analyse trial {trial.id}: it is {trial.status} and has not trained an epoch of its first network. "
            f"See: growres status {trial.experiment_id}"
        )
    experiment = store.find_experiment(trial.experiment_id)
    return StoredGrowth(
        trial=trial,
        host=experiment.host,
        num_validation_images=(experiment.data_splits or {}).get("validation"),
        networks=grown_networks(curve, steps),
        growth_steps=steps,
        epochs=store.epochs(trial.id),
        outputs=outputs_folder(run_folder(trial.experiment_id), trial.id),
        digests=recorded_digests(store, trial.id),
    )


def grown_networks(growth_curve: Sequence[Row], growth_steps: Sequence[Row]) -> list[GrownNetwork]:
    """The shallow network and every proposal, from the rows of one trial; the curve begins with step 0."""
    networks = [_shallow(growth_curve[0], growth_steps)]
    flops_after = {row["step"]: row["train_flops_total"] for row in growth_curve}
    num_blocks = networks[0].num_blocks
    for _, proposals in groupby(growth_steps, key=lambda row: row["round"]):
        parent_blocks = num_blocks  # proposals of a round have the same parent, whichever of them is accepted
        for row in proposals:
            changed = None if parent_blocks is None else parent_blocks + (1 if row["kind"] == "append" else -1)
            networks.append(_proposed(row, changed, flops_after[row["step"]]))
            if row["verdict"] == "accepted":
                num_blocks = changed
    return networks


def _shallow(state: Row, growth_steps: Sequence[Row]) -> GrownNetwork:
    return GrownNetwork(
        step=0,
        kind="append",
        verdict="start",
        stage=None,
        num_blocks=state["num_blocks"],
        val_error=state["val_error"],
        val_error_before=None,
        val_error_control=None,
        val_loss=growth_steps[0]["val_loss_before"] if growth_steps else None,
        train_flops_total=state["train_flops_total"],
        is_screened_out=False,
    )


def _proposed(row: Row, num_blocks: int | None, train_flops_total: int | None) -> GrownNetwork:
    return GrownNetwork(
        step=row["step"],
        kind=row["kind"],
        verdict=row["verdict"],
        stage=row["stage"],
        num_blocks=num_blocks,
        val_error=_finite(row["val_error_candidate"]),
        val_error_before=row["val_error_before"],
        val_error_control=row["val_error_control"],
        val_loss=_finite(row["val_loss_candidate"]),
        train_flops_total=train_flops_total,
        is_screened_out=is_screened_out(row),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
