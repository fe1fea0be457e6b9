"""The experiment file as a person writes it, before its variants are expanded into trials.

The sections that a variant lays over the file's defaults are checked one by one, once they are merged; here they are
only mappings.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt

from growres.config.experiment import (
    LONGEST_NAME,
    AshaConfig,
    DatasetConfig,
    Frozen,
    Name,
    Procedure,
    ResourcesConfig,
    Twin,
)

MOST_TRIALS = 10_000

Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]


def _first_seeds(value: Any) -> Any:
    """`3` is short for `[0, 1, 2]`."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_TRIALS:
        return tuple(range(value))
    return tuple(value) if isinstance(value, list) else value


class ExperimentFile(Frozen):
    """A data set and named variants, which growres expands into trials."""

    name: Name
    """What the results are found by."""
    dataset: DatasetConfig
    seeds: Annotated[
        tuple[Seed, ...],
        BeforeValidator(
            _first_seeds,
            json_schema_input_type=Annotated[int, Field(ge=1, le=MOST_TRIALS)]
            | Annotated[tuple[Seed, ...], Field(min_length=1)],
        ),
        Field(min_length=1),
    ] = (0,)
    """Each variant is trained once with each seed. A number n stands for the seeds 0 to n - 1."""
    training: dict[str, Any] = {}
    """Defaults of every variant, which may override any key; a mapping with another `name` replaces the default's."""
    variants: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """What is compared, by name."""
    resources: ResourcesConfig = ResourcesConfig()
    """What Ray gives each trial."""
    scheduler: AshaConfig | None = None
    """Stops trials early; by default none is."""
    max_failures: NonNegativeInt = 2
    """How often a trial that failed is tried again, from its last event."""


class VariantEntry(Frozen):
    """A procedure, a model and their settings: one trial for each point of its sweep and each seed."""

    procedure: Procedure
    """end_to_end: train the whole network; growth: the Simons procedure, block by block; layerwise: one block after the
    other, those before it frozen; boostresnet: the same by boosting."""
    model: dict[str, Any]
    recipe: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] | None = None
    """How the model's authors trained it, in place of the same keys of the file's `training`: paper, or short where
    theirs ran for days; growres zoo show has the text."""
    dataset: dict[str, Any] | None = None
    """Takes label_noise, in place of the file's: for experiments on where a growth stops."""
    training: dict[str, Any] = {}
    """Laid over the file's `training` and the recipe."""
    growth: dict[str, Any] | None = None
    """Required by the procedure growth; refused by the others."""
    layerwise: dict[str, Any] | None = None
    """Required by the procedure layerwise; refused by the others."""
    boostresnet: dict[str, Any] | None = None
    """Required by the procedure boostresnet; refused by the others."""
    twins: tuple[Twin, ...] = ()
    """When a trial of this variant has succeeded, also train its final network from scratch, end to end. same_epochs:
    as many epochs as the trial has trained in all; same_flops: as many whole epochs, one at least, as come nearest to
    all its FLOPs. Rejected proposals and control arms are counted into both. The twins are trials of the variants
    NAME.same_epochs and NAME.same_flops, with this one's `training` but for the epochs. Not for end_to_end."""
    sweep: dict[str, dict[str, Any]] = {}
    """Keys of this variant, such as training.optimizer.lr, each with the values to try."""
    samples: PositiveInt = 1
    """Random draws for each combination of the grids; needs choice, uniform, loguniform or randint in the sweep."""
