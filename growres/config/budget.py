"""What a growth may spend: the epochs of one round, and the rounds of the longest growth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from growres.config.experiment import (
    AcceptConfig,
    AdamGammaConfig,
    BestOfConfig,
    GrowthConfig,
    PlateauConfig,
    is_tested,
)


def epochs_of_a_round(growth: GrowthConfig, num_stages: int) -> int:
    """Epochs that one round takes at most: all proposals, replicates and arms together.

    Args:
        num_stages: of the network, for a round may have a proposal in each.
    """
    initialiser = growth.initialiser
    beginning = initialiser.max_epochs if isinstance(initialiser, AdamGammaConfig) else 0
    candidates, screening = _candidates(growth, num_stages), _epochs_of_screening(growth, num_stages)
    epochs = candidates * (growth.epochs_per_step + beginning) + _epochs_of_a_control(growth, growth.epochs_per_step)
    return screening + most_replicates(growth.accept) * epochs


def most_replicates(accept: AcceptConfig) -> int:
    """With how many seeds a proposal may be tried."""
    more = accept.max_replicates if is_tested(accept) else None
    return more or accept.replicates


def epochs_alone(growth: GrowthConfig) -> int:
    """The epochs of a step in which the new block alone learns."""
    match growth.train:
        case "all":
            return 0
        case "new_block":
            return growth.epochs_per_step
        case "new_block_then_all":
            return growth.epochs_per_step // 2


def fewest_epochs(growth: GrowthConfig, epochs: int) -> int:
    """Epochs that an arm trains at least that may train so many, unless it diverges."""
    return min(epochs, growth.when.patience + 1) if isinstance(growth.when, PlateauConfig) else epochs


def _fewest_epochs_of_a_round(growth: GrowthConfig, num_stages: int) -> int:
    candidates, screening = _candidates(growth, num_stages), _epochs_of_screening(growth, num_stages)
    epochs = fewest_epochs(growth, growth.epochs_per_step)
    return screening + growth.accept.replicates * (candidates * epochs + _epochs_of_a_control(growth, epochs))


def proposals_of_a_round(growth: GrowthConfig, num_stages: int) -> int:
    """All of them, those included that screening leaves out."""
    placement = growth.placement
    return len(placement.stages or range(num_stages)) if isinstance(placement, BestOfConfig) else 1


def _candidates(growth: GrowthConfig, num_stages: int) -> int:
    placement = growth.placement
    screens = isinstance(placement, BestOfConfig) and placement.screen != "none"
    return 1 if screens else proposals_of_a_round(growth, num_stages)


def _epochs_of_a_control(growth: GrowthConfig, epochs_of_candidate: int) -> int:
    """While the new block alone learns, there is nothing in the parent to train."""
    return max(epochs_of_candidate - epochs_alone(growth), 0) if growth.control else 0


def _epochs_of_screening(growth: GrowthConfig, num_stages: int) -> int:
    placement = growth.placement
    if not isinstance(placement, BestOfConfig) or placement.screen == "none":
        return 0
    return proposals_of_a_round(growth, num_stages) * placement.screen_epochs


def most_rounds(growth: GrowthConfig, blocks: Sequence[int]) -> int | None:
    """Rounds in the longest run of verdicts that the stop rules allow; None where they set no bound.

    With room for A more blocks and a patience of P, the worst is P - 1 rejections before each acceptance: A * P rounds.
    Either rule alone sets no bound: rejections need not end, nor acceptances. A budget of epochs always does: a round
    is begun where it holds the longest one, and may turn out the shortest. An arm that diverges is shorter still, and
    is not reckoned with in that; where every block is kept, a candidate that diverges is a rejection all the same.

    Args:
        blocks: residual blocks in each stage before the first round.
    """
    stop = growth.stop
    num_blocks = sum(blocks)
    bounds: list[int] = []
    if stop.max_blocks is not None:
        room = max(stop.max_blocks - num_blocks, 0)
        if room == 0 or stop.patience is not None:
            bounds.append(room * (stop.patience or 0))
    if stop.max_epochs is not None:
        left = stop.max_epochs - fewest_epochs(growth, growth.seed_epochs) - epochs_of_a_round(growth, len(blocks))
        bounds.append(0 if left < 0 else left // _fewest_epochs_of_a_round(growth, len(blocks)) + 1)
    return least_of(bounds)


def least_of(bounds: Iterable[int | None]) -> int | None:
    """The smallest of the bounds that there are; None where there is none."""
    return min((bound for bound in bounds if bound is not None), default=None)
