"""A round: proposals that grew from the same parent, their arms trained one after the other, and their controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from growres.errors import NonFiniteLossError
from growres.events import EpochFinished
from growres.growth.arms import Arms, Begun, Place
from growres.growth.measured import Measured
from growres.growth.placement import Proposal
from growres.training.arm import ArmTraining, Cost


class ProposalArms:
    """One proposal with what was trained for it: a screening perhaps, then a candidate for each replicate."""

    def __init__(self, proposal: Proposal, step: int, *, num_replicates: int) -> None:
        self.proposal = proposal
        self.step = step
        self.num_replicates = num_replicates
        """For how many seeds it gets a candidate, if it gets any."""
        self.screening: ArmTraining | None = None
        self.candidates: list[Measured] = []
        """One for each replicate; the first is the trial's own."""
        self.logit_change = 0.0
        self.begin_cost = Cost()
        """What copying, appending, checking and initialising took."""

    @property
    def cost(self) -> Cost:
        """Of all that was done for this proposal, but for the controls, which it shares."""
        arms = [candidate.arm for candidate in self.candidates]
        arms += [] if self.screening is None else [self.screening]
        return sum((arm.cost for arm in arms), start=self.begin_cost)

    @property
    def diverged(self) -> str | None:
        """Why a candidate diverged, if one did."""
        return next((candidate.arm.diverged for candidate in self.candidates if candidate.arm.diverged), None)

    @property
    def last_arm(self) -> ArmTraining:
        """The trial's own candidate; the screening, where it got no further."""
        arm = self.candidates[0].arm if self.candidates else self.screening
        assert arm is not None, "a round trains something for each proposal"
        return arm

    def take(self, begun: Begun) -> ArmTraining:
        """Counts what the arm cost to begin."""
        self.logit_change = max(self.logit_change, begun.logit_change)
        self.begin_cost += begun.cost
        return begun.arm

    def state_dict(self) -> dict[str, Any]:
        """All that the rest depends on, beside the parent."""
        return {
            "proposal": dataclasses.asdict(self.proposal),
            "step": self.step,
            "num_replicates": self.num_replicates,
            "screening": None if self.screening is None else self.screening.state_dict(),
            "candidates": [candidate.arm.state_dict() for candidate in self.candidates],
            "logit_change": self.logit_change,
            "begin_cost": dataclasses.asdict(self.begin_cost),
        }


class GrowthRound:
    """The proposals of one round on their way.

    Every arm begins with the parent's weights and, where the configuration carries it, its optimiser state. An arm is
    made when its turn comes: the parent does not change meanwhile.
    """

    def __init__(
        self,
        number: int,
        proposals: Sequence[ProposalArms],
        *,
        arms: Arms,
        parent: Measured,
        screens: bool,
        has_control: bool,
    ) -> None:
        self.number = number
        self.proposals = list(proposals)
        self.controls: list[Measured] = []
        self.shared_cost = Cost()
        """What choosing the proposals, making the control arms and judging on the way took."""
        self._arms = arms
        self.parent = parent
        self._screens = screens
        self._has_control = has_control

    @property
    def finalists(self) -> list[ProposalArms]:
        """The proposals that get candidates: all, or the one whose screening ended with the lowest error."""
        if not self._screens:
            return self.proposals
        screened = [proposal for proposal in self.proposals if proposal.screening and not proposal.screening.diverged]
        return [min(screened, key=_screened_rank)] if screened else []

    @property
    def cost_of_all(self) -> Cost:
        """What the proposals share: the control arms of the round, and what else was done for it."""
        return sum((control.arm.cost for control in self.controls), start=self.shared_cost)

    @property
    def control_diverged(self) -> str | None:
        """Why a control arm diverged, if one did."""
        return next((control.arm.diverged for control in self.controls if control.arm.diverged), None)

    def run(self) -> Iterator[EpochFinished]:
        """Trains what is left of each arm; one that diverges ends there, and diverged candidates need no control."""
        yield from self._run_screenings()
        finalists = self.finalists
        for replicate in range(max((proposal.num_replicates for proposal in finalists), default=0)):
            for proposal in finalists:
                yield from self._run_candidate(proposal, replicate)
            if self._has_control:
                yield from self._run_control(replicate)

    def _run_screenings(self) -> Iterator[EpochFinished]:
        for proposal in self.proposals if self._screens else ():
            if proposal.screening is None:
                place = Place(step=proposal.step, round=self.number)
                proposal.screening = proposal.take(
                    self._arms.begin_screening(self.parent.arm, proposal.proposal, place)
                )
            yield from _run(proposal.screening)

    def _run_candidate(self, proposal: ProposalArms, replicate: int) -> Iterator[EpochFinished]:
        if proposal.diverged or replicate >= proposal.num_replicates:
            return
        if len(proposal.candidates) == replicate:
            place = Place(step=proposal.step, round=self.number, replicate=replicate)
            begun = self._arms.begin_candidate(self.parent, proposal.proposal, place)
            proposal.candidates.append(Measured(proposal.take(begun)))
        yield from _run(proposal.candidates[replicate].arm)

    def _run_control(self, replicate: int) -> Iterator[EpochFinished]:
        """For as many epochs as the longest candidate of this replicate trained more than its block."""
        sound = [proposal.candidates for proposal in self.finalists if not proposal.diverged]
        trained = [candidates[replicate].arm for candidates in sound if len(candidates) > replicate]
        if not trained or self.control_diverged:
            return
        if len(self.controls) == replicate:
            place = Place(step=self.proposals[0].step, round=self.number, replicate=replicate)
            epochs = self._arms.epochs_of_control(max(arm.epochs_done for arm in trained))
            begun = self._arms.begin_control(self.parent.arm, place, epochs=epochs)
            self.shared_cost += begun.cost
            self.controls.append(Measured(begun.arm))
        yield from _run(self.controls[replicate].arm)

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the round depends on, beside the parent."""
        return {
            "number": self.number,
            "proposals": [proposal.state_dict() for proposal in self.proposals],
            "controls": [{"epochs": control.arm.epochs, **control.arm.state_dict()} for control in self.controls],
            "shared_cost": dataclasses.asdict(self.shared_cost),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`; the proposals are made from the state."""
        self.shared_cost = Cost(**state["shared_cost"])
        self.proposals = [self._load_proposal(proposal) for proposal in state["proposals"]]
        for replicate, saved in enumerate(state["controls"]):
            place = Place(step=self.proposals[0].step, round=self.number, replicate=replicate)
            control = self._arms.control(self._arms.build(saved), place, epochs=saved["epochs"])
            control.load_state_dict(saved)
            self.controls.append(Measured(control))

    def _load_proposal(self, state: dict[str, Any]) -> ProposalArms:
        proposal = Proposal(**state["proposal"])
        loaded = ProposalArms(proposal, state["step"], num_replicates=state["num_replicates"])
        loaded.logit_change = state["logit_change"]
        loaded.begin_cost = Cost(**state["begin_cost"])
        place = Place(step=loaded.step, round=self.number)
        if state["screening"] is not None:
            network = self._arms.build(state["screening"])
            loaded.screening = self._arms.screening(network, loaded.proposal, place)
            loaded.screening.load_state_dict(state["screening"])
        for replicate, saved in enumerate(state["candidates"]):
            place = dataclasses.replace(place, replicate=replicate)
            candidate = self._arms.candidate(
                self._arms.build(saved), loaded.proposal, place, parent=self.parent.network
            )
            candidate.load_state_dict(saved)
            loaded.candidates.append(Measured(candidate))
        return loaded


def _run(arm: ArmTraining) -> Iterator[EpochFinished]:
    if arm.diverged is None:
        try:
            yield from arm.run()
        except NonFiniteLossError:
            return  # the arm remembers why


def _screened_rank(proposal: ProposalArms) -> tuple[float, float, int]:
    assert proposal.screening is not None and proposal.screening.validation is not None
    validation = proposal.screening.validation
    return validation.error, validation.loss, proposal.step
