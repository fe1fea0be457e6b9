"""The Simons procedure: train a shallow network, append a block, fine-tune, keep it only if the error drops, repeat."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from growres import events
from growres.config.expansion import epochs_of_a_step
from growres.config.experiment import GrowthConfig, TrialConfig
from growres.errors import GrowthError, NonFiniteLossError
from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent
from growres.growth.acceptance import Comparison, Judgement, make_acceptance
from growres.growth.initialisers import make_initialiser
from growres.growth.network import append_block, growing_network, largest_logit_change
from growres.growth.placement import Proposal, make_placement
from growres.growth.selection import make_selection
from growres.growth.stopping import GrowthProgress, make_stop_rules, reason_to_stop
from growres.seeding import seeded
from growres.training.arm import ArmTraining, Cost, TrainSelection, train_everything
from growres.training.context import TrainingContext
from growres.training.procedure import finish
from zoo.resnet import ResNet

_NUM_IMAGES_TO_CHECK_LOGITS = 64

# On the CPU a zero branch adds exact zeros. Elsewhere the library may choose other algorithms for the copy.
_LOGIT_TOLERANCE_ON_CPU = 0.0
_LOGIT_TOLERANCE_ELSEWHERE = 1e-3


class GrowthStep:
    """One proposal under way: its arms, trained one after the other from copies of the same parent.

    Both arms see the same batches in the same order, and begin with the parent's optimiser state.
    """

    def __init__(
        self,
        proposal: Proposal,
        candidate: ArmTraining,
        control: ArmTraining | None,
        *,
        logit_change: float,
        begin_s: float,
    ) -> None:
        self.proposal = proposal
        self.candidate = candidate
        self.control = control
        self.logit_change = logit_change
        self.begin_s = begin_s
        """What copying, appending and checking took."""

    @property
    def arms(self) -> tuple[ArmTraining, ...]:
        """The candidate, then the control where there is one."""
        return (self.candidate,) if self.control is None else (self.candidate, self.control)

    def run(self) -> Iterator[EpochFinished]:
        """Trains what is left of each arm; one that diverges ends there, and a diverged candidate needs no control."""
        for arm in self.arms:
            if arm.diverged is None and self.candidate.diverged is None:
                try:
                    yield from arm.run()
                except NonFiniteLossError:
                    continue  # the arm remembers why

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the step depends on, beside the parent."""
        return {
            "stage": self.proposal.stage,
            "block": self.proposal.block,
            "logit_change": self.logit_change,
            "begin_s": self.begin_s,
            "candidate": self.candidate.state_dict(),
            "control": None if self.control is None else self.control.state_dict(),
        }


class Growth:
    """Steps 1 to 3 of the Simons procedure over a residual network of the zoo.

    The parent is never touched while a step is under way: the arms train copies of it, and a rejected candidate is
    dropped, so that weights, buffers and optimiser are the parent's own again, exactly.
    """

    def __init__(self, trial: TrialConfig, context: TrainingContext) -> None:
        assert trial.growth is not None, "the configuration requires the section growth of this procedure"
        self._config: GrowthConfig = trial.growth
        self._context = context
        self._placement = make_placement(trial.growth.placement)
        self._initialiser = make_initialiser(trial.growth.initialiser)
        self._acceptance = make_acceptance(trial.growth.accept)
        self._stop_rules = make_stop_rules(trial.growth.stop)
        shallow = growing_network(context.build({"name": trial.model.name, **trial.model.kwargs}))
        self._current = self._seed_arm(shallow)
        self._seed_cost: Cost | None = None
        self._train_error: float | None = None
        self._history: list[GrowthStepDecided] = []
        self._step: GrowthStep | None = None

    @property
    def network(self) -> ResNet:
        """The network as accepted so far: the parent of the step under way, if there is one."""
        return growing_network(self._current.network)

    def run(self) -> Iterator[ProcedureEvent]:
        """Yields an EpochFinished for each epoch of each arm, a GrowthStepDecided for each step, then TrialFinished.

        Raises:
            NonFiniteLossError: if the seed network diverges. A candidate that diverges is rejected.
            GrowthError: if a function-preserving block changed the logits, or the placement names an absent stage.
        """
        if self._seed_cost is None:
            yield from self._current.run()  # step 1: a shallow network, end to end
            self._seed_cost = self._current.cost
        while (reason := self._reason_to_stop()) is None:  # step 3: until nothing is left to gain
            if self._step is None:
                self._step = self._begin_step()  # step 2: the same weights, one block more
            yield from self._step.run()
            yield self._decide(self._step)
        yield finish(self._current, self._spent(), reason=reason)

    def _reason_to_stop(self) -> str | None:
        assert self._current.validation is not None, "the seed network is trained by now"
        progress = GrowthProgress(
            val_error=self._current.validation.error,
            num_blocks=self.network.num_blocks,
            epochs_trained=self._spent().epochs,
            epochs_of_next_step=epochs_of_a_step(self._config),
            history=self._history,
        )
        return reason_to_stop(self._stop_rules, progress)

    def _spent(self) -> Cost:
        """On the seed network and every decided step, rejected proposals and control arms included."""
        assert self._seed_cost is not None, "the seed network is trained by now"
        steps = (Cost(epochs=step.epochs, train_flops=step.train_flops, wall_s=step.wall_s) for step in self._history)
        return sum(steps, start=self._seed_cost)

    def _begin_step(self) -> GrowthStep:
        started = time.perf_counter()
        parent = self.network
        proposal = self._placement.propose(parent.architecture["blocks"], self._history)
        with seeded("block", self._context.seed, len(self._history) + 1):
            grown = append_block(parent, proposal.stage, self._initialiser)
        logit_change = self._check_function(parent, grown, proposal)
        candidate = self._arm_of_step("candidate", grown, make_selection(self._config, proposal))
        control = (
            self._arm_of_step("control", copy.deepcopy(parent), train_everything) if self._config.control else None
        )
        for arm in (candidate, control):
            if arm is not None:
                arm.take_optimizer_state(self._current)
        begin_s = time.perf_counter() - started
        return GrowthStep(proposal, candidate, control, logit_change=logit_change, begin_s=begin_s)

    def _check_function(self, parent: ResNet, grown: ResNet, proposal: Proposal) -> float:
        images, _ = next(iter(self._context.data.eval_batches("validation", batch_size=_NUM_IMAGES_TO_CHECK_LOGITS)))
        change = largest_logit_change(parent, grown, images)
        on_cpu = self._context.device.type == "cpu"
        tolerance = _LOGIT_TOLERANCE_ON_CPU if on_cpu else _LOGIT_TOLERANCE_ELSEWHERE
        if self._initialiser.function_preserving and not change <= tolerance:
            raise GrowthError(
                f"Appending a block to stage {proposal.stage} with {self._initialiser.name} changed the logits by up "
                f"to {change:.3g}; a function-preserving initialiser may change them by at most {tolerance:g}. "
                f"This is a fault of the initialiser or of the network's block."
            )
        return change

    def _decide(self, step: GrowthStep) -> GrowthStepDecided:
        """The verdict as an event; by its time the candidate has taken the parent's place, or is gone."""
        started = time.perf_counter()
        parent, candidate, control = self._current, step.candidate, step.control
        assert parent.validation is not None
        if self._train_error is None:
            self._train_error = parent.measure("train").error
        train_error_before = self._train_error
        train_error_candidate = None if candidate.diverged else candidate.measure("train").error
        judgement = self._judge(step)
        if judgement.verdict == "accepted":
            self._current, self._train_error = candidate, train_error_candidate
        self._step = None
        cost = sum((arm.cost for arm in step.arms), start=Cost(wall_s=step.begin_s + time.perf_counter() - started))
        decided = GrowthStepDecided(
            step=len(self._history) + 1,
            round=len(self._history) + 1,
            stage=step.proposal.stage,
            block=step.proposal.block,
            initialiser=self._initialiser.name,
            train_error_before=train_error_before,
            train_error_candidate=train_error_candidate,
            val_error_before=parent.validation.error,
            val_error_candidate=_val_error(candidate),
            val_error_control=None if control is None else _val_error(control),
            p_value=judgement.p_value,
            verdict=judgement.verdict,
            reason=judgement.reason,
            num_params_before=parent.num_params,
            num_params_after=candidate.num_params,
            epochs=cost.epochs,
            train_flops=cost.train_flops,
            wall_s=cost.wall_s,
            max_logit_change=step.logit_change,
        )
        self._history.append(decided)
        return decided

    def _judge(self, step: GrowthStep) -> Judgement:
        if step.candidate.diverged:
            return Judgement(verdict="rejected", reason=f"the candidate diverged. {step.candidate.diverged}")
        before, candidate = self._current.validation, step.candidate.validation
        assert before is not None and candidate is not None, "both are trained by now"
        control = None if step.control is None or step.control.diverged else step.control.validation
        judgement = self._acceptance.judge(Comparison(before=before, candidate=candidate, control=control))
        if step.control is not None and step.control.diverged:
            return dataclasses.replace(judgement, reason=f"{judgement.reason}; the control arm diverged")
        return judgement

    def _seed_arm(self, network: ResNet) -> ArmTraining:
        return ArmTraining(self._context, network, architecture=network.architecture, epochs=self._config.seed_epochs)

    def _arm_of_step(self, arm: events.Arm, network: ResNet, select: TrainSelection) -> ArmTraining:
        steps_before = len(self._history)
        return ArmTraining(
            self._context,
            growing_network(self._context.place(network)),
            architecture=network.architecture,
            epochs=self._config.epochs_per_step,
            growth_step=steps_before + 1,
            arm=arm,
            first_data_epoch=self._config.seed_epochs + steps_before * self._config.epochs_per_step,
            select=select,
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the rest depends on, at any event, in the middle of a growth step too."""
        return {
            "current": self._current.state_dict(),
            "seed_cost": None if self._seed_cost is None else dataclasses.asdict(self._seed_cost),
            "train_error": self._train_error,
            "history": [dataclasses.asdict(step) for step in self._history],
            "step": None if self._step is None else self._step.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`."""
        self._history = [GrowthStepDecided(**step) for step in state["history"]]
        self._seed_cost = None if state["seed_cost"] is None else Cost(**state["seed_cost"])
        self._train_error = state["train_error"]
        self._current = self._seed_arm(self._build(state["current"]))
        self._current.load_state_dict(state["current"])
        self._step = None if state["step"] is None else self._load_step(state["step"])

    def network_state(self) -> dict[str, Any]:
        """The network as accepted so far; a candidate under trial is not it."""
        return self._current.network_state()

    def _load_step(self, state: dict[str, Any]) -> GrowthStep:
        proposal = Proposal(stage=state["stage"], block=state["block"])
        select = make_selection(self._config, proposal)
        candidate = self._arm_of_step("candidate", self._build(state["candidate"]), select)
        candidate.load_state_dict(state["candidate"])
        control = None
        if state["control"] is not None:
            control = self._arm_of_step("control", self._build(state["control"]), train_everything)
            control.load_state_dict(state["control"])
        return GrowthStep(proposal, candidate, control, logit_change=state["logit_change"], begin_s=state["begin_s"])

    def _build(self, state: dict[str, Any]) -> ResNet:
        return growing_network(self._context.build(state["architecture"]))


def _val_error(arm: ArmTraining) -> float | None:
    """The error after the arm's last epoch, or None where the arm diverged."""
    return None if arm.diverged or arm.validation is None else arm.validation.error
