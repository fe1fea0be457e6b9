"""What a growth may spend: the epochs of one round, and the rounds of the longest growth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from growres.config.experiment import AdamGammaConfig, BestOfConfig, GrowthConfig, TestedBase


def epochs_of_a_round(growth: GrowthConfig, num_stages: int) -> int:
    """Epochs that one round takes at most: all proposals, replicates and arms together.

    Args:
        num_stages: of the network, for a round may have a proposal in each.
    """
    accept, placement, initialiser = growth.accept, growth.placement, growth.initialiser
    replicates = (accept.max_replicates if isinstance(accept, TestedBase) else None) or accept.replicates
    candidates, screening = 1, 0
    if isinstance(placement, BestOfConfig):
        num_proposals = len(placement.stages or range(num_stages))
        screened = placement.screen != "none"
        candidates = 1 if screened else num_proposals
        screening = num_proposals * placement.screen_epochs if screened else 0
    beginning = initialiser.max_epochs if isinstance(initialiser, AdamGammaConfig) else 0
    arms = candidates + (1 if growth.control else 0)
    return screening + replicates * (arms * growth.epochs_per_step + candidates * beginning)


def most_rounds(growth: GrowthConfig, blocks: Sequence[int]) -> int | None:
    """Rounds in the longest run of verdicts that the stop rules allow; None where they set no bound.

    With room for A more blocks and a patience of P, the worst is P - 1 rejections before each acceptance: A * P rounds.
    Either rule alone sets no bound: rejections need not end, nor acceptances. A budget of epochs always does. Where
    every block is kept, a candidate that diverges is still a rejection.

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
        bounds.append(max(stop.max_epochs - growth.seed_epochs, 0) // epochs_of_a_round(growth, len(blocks)))
    return least_of(bounds)


def least_of(bounds: Iterable[int | None]) -> int | None:
    """The smallest of the bounds that there are; None where there is none."""
    return min((bound for bound in bounds if bound is not None), default=None)
