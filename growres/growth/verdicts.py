"""From a round's trained arms to its verdicts: each proposal judged, at most one accepted, all of them recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from growres.config.budget import most_replicates
from growres.config.experiment import AcceptConfig
from growres.events import GrowthStepDecided
from growres.growth.acceptance import Comparison, Judgement, make_acceptance, mean_error
from growres.growth.measured import Measured
from growres.growth.rounds import GrowthRound, ProposalArms
from growres.training.arm import Cost
from growres.training.outputs import ImageOutputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What came of a round."""

    accepted: ProposalArms | None
    steps: list[GrowthStepDecided]
    """One for each proposal, in their order."""


class Verdicts:
    """Decides the rounds of one growth.

    Args:
        initialiser: its name, for the record.
        most_rounds: of the longest growth that the stop rules allow.
    """

    def __init__(self, config: AcceptConfig, *, initialiser: str, most_rounds: int | None) -> None:
        self._config = config
        self._initialiser = initialiser
        self._acceptance = make_acceptance(config, most_rounds=most_rounds)

    def tries_again(self, round_: GrowthRound, num_accepted: int) -> bool:
        """Gives every undecided proposal one seed more, where it may have one; whether any got it."""
        started = time.perf_counter()
        may_have_more = [one for one in round_.finalists if one.num_replicates < most_replicates(self._config)]
        undecided = [one for one in may_have_more if self._judge(round_, one, num_accepted).verdict == "undecided"]
        for one in undecided:
            one.num_replicates += 1
        round_.shared_cost += Cost(wall_s=time.perf_counter() - started)
        return bool(undecided)

    def decide(self, round_: GrowthRound, num_accepted: int) -> Decision:
        """The verdicts. Of several candidates that pass, the one with the lowest validation error is accepted.

        Args:
            num_accepted: blocks accepted in the rounds before.
        """
        started = time.perf_counter()
        finalists = round_.finalists
        judgements = {one.step: self._judge(round_, one, num_accepted) for one in finalists}
        passed = [one for one in finalists if judgements[one.step].verdict == "accepted"]
        accepted = min(passed, key=lambda one: mean_error(_validation(one.candidates)), default=None)
        steps = []
        for one in round_.proposals:
            judgement = _as_recorded(one, judgements.get(one.step), accepted, finalists)
            steps.append(self._step(round_, one, judgement))
        shared_cost = round_.cost_of_all + Cost(wall_s=time.perf_counter() - started)
        steps[0] = _with_cost(steps[0], shared_cost)  # what the proposals share is told once
        return Decision(accepted=accepted, steps=steps)

    def _judge(self, round_: GrowthRound, proposal: ProposalArms, num_accepted: int) -> Judgement:
        if proposal.diverged:
            return Judgement(verdict="rejected", reason=f"the candidate diverged. {proposal.diverged}")
        control_diverged = round_.control_diverged
        if control_diverged and self._config.name == "versus_control":
            return Judgement(verdict="rejected", reason=f"the control to compare with diverged. {control_diverged}")
        judgement = self._acceptance.judge(
            Comparison(
                befores=[round_.parent.validation] * len(proposal.candidates),
                candidates=_validation(proposal.candidates),
                controls=[] if control_diverged else _validation(round_.controls[: len(proposal.candidates)]),
                round=round_.number,
                num_accepted=num_accepted,
                num_proposals=len(round_.proposals),  # also those that the same images have screened out
            )
        )
        if control_diverged:
            return replace(judgement, reason=f"{judgement.reason}; the control arm diverged")
        return judgement

    def _step(self, round_: GrowthRound, proposal: ProposalArms, judgement: Judgement) -> GrowthStepDecided:
        parent, arm, cost = round_.parent, proposal.last_arm, proposal.cost
        trained = proposal.candidates[0] if proposal.candidates and not proposal.diverged else None
        control = round_.controls[0] if round_.controls and not round_.controls[0].arm.diverged else None
        reached = None if proposal.diverged or arm.diverged else arm.validation
        if trained is not None:
            reached = trained.validation.measurement
        return GrowthStepDecided(
            step=proposal.step,
            round=round_.number,
            stage=proposal.proposal.stage,
            block=proposal.proposal.block,
            initialiser=self._initialiser,
            train_error_before=parent.train.measurement.error,
            train_error_candidate=None if trained is None else trained.train.measurement.error,
            val_error_before=parent.validation.measurement.error,
            val_error_candidate=None if reached is None else reached.error,
            val_error_control=_error(control),
            val_loss_before=parent.validation.measurement.loss,
            val_loss_candidate=None if reached is None else reached.loss,
            val_loss_control=_loss(control),
            num_replicates=max(len(proposal.candidates), 1),
            p_value=judgement.p_value,
            verdict=judgement.verdict,
            reason=judgement.reason,
            num_params_before=parent.arm.num_params,
            num_params_after=arm.num_params,
            epochs=cost.epochs,
            train_flops=cost.train_flops,
            wall_s=cost.wall_s,
            max_logit_change=proposal.logit_change,
        )


def _as_recorded(
    proposal: ProposalArms,
    judgement: Judgement | None,
    accepted: ProposalArms | None,
    finalists: Sequence[ProposalArms],
) -> Judgement:
    """The judgement, or why the proposal was passed over for another of its round."""
    if judgement is None:
        return Judgement(verdict="rejected", reason=_screened_out(proposal, finalists))
    if judgement.verdict == "accepted" and accepted is not None and accepted is not proposal:
        reason = f"{judgement.reason}; but the one in stage {accepted.proposal.stage} reached an error at least as low"
        return replace(judgement, verdict="rejected", reason=reason)
    return judgement


def _screened_out(proposal: ProposalArms, finalists: Sequence[ProposalArms]) -> str:
    screening = proposal.screening
    assert screening is not None, "a proposal without a candidate was screened"
    if screening.diverged or screening.validation is None:
        return f"screened out: the new block alone diverged. {screening.diverged}"
    told = f"screened out: the new block alone reached val_error {screening.validation.error:.4f}"
    best = finalists[0].screening.validation if finalists and finalists[0].screening else None
    return told if best is None else f"{told}, that in stage {finalists[0].proposal.stage} {best.error:.4f}"


def _with_cost(step: GrowthStepDecided, cost: Cost) -> GrowthStepDecided:
    return replace(
        step,
        epochs=step.epochs + cost.epochs,
        train_flops=step.train_flops + cost.train_flops,
        wall_s=step.wall_s + cost.wall_s,
    )


def _validation(arms: Sequence[Measured]) -> list[ImageOutputs]:
    return [arm.validation for arm in arms]


def _error(measured: Measured | None) -> float | None:
    return None if measured is None else measured.validation.measurement.error


def _loss(measured: Measured | None) -> float | None:
    return None if measured is None else measured.validation.measurement.loss
