"""The Simons procedure: train a shallow network, append a block, fine-tune, keep it only if the error drops, repeat."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Any

from growres.config.budget import epochs_of_a_round, most_rounds
from growres.config.experiment import BestOfConfig, GrowthConfig, TrialConfig
from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent
from growres.growth.arms import Arms
from growres.growth.gradients import gradient_flops, stage_gradient_norms
from growres.growth.measured import Measured
from growres.growth.network import growing_network
from growres.growth.placement import GrowthView, NothingLeft, Proposal, make_placement, num_rounds
from growres.growth.pruning import prune
from growres.growth.rounds import GrowthRound, ProposalArms
from growres.growth.stopping import GrowthProgress, make_stop_rules, reason_to_stop
from growres.growth.verdicts import Verdicts
from growres.training.arm import ArmTraining, Cost
from growres.training.context import TrainingContext
from growres.training.outputs import ImageOutputs
from growres.training.procedure import finish
from zoo.resnet import ResNet


class Growth:
    """Steps 1 to 3 of the Simons procedure over a residual network of the zoo, and what may follow them.

    The parent is never touched while a round is under way: the arms train copies of it, and a rejected candidate is
    dropped, so that weights, buffers and optimiser are the parent's own again, exactly.
    """

    def __init__(self, trial: TrialConfig, context: TrainingContext) -> None:
        assert trial.growth is not None, "the configuration requires the section growth of this procedure"
        self._config: GrowthConfig = trial.growth
        self._context = context
        shallow = growing_network(context.build({"name": trial.model.name, **trial.model.kwargs}))
        rounds = most_rounds(trial.growth, shallow.architecture["blocks"])
        self._arms = Arms(trial, context, most_rounds=rounds)
        self._placement = make_placement(trial.growth.placement)
        self._stop_rules = make_stop_rules(trial.growth.stop, label_noise=trial.dataset.label_noise)
        self._verdicts = Verdicts(trial.growth.accept, initialiser=self._arms.initialiser_name, most_rounds=rounds)
        self._current = Measured(self._arms.seed(shallow))
        self._seed_cost: Cost | None = None
        self._history: list[GrowthStepDecided] = []
        self._lineage: list[float] = []
        """The validation error after each epoch that the accepted network was trained."""
        self._epochs_before_round: list[int] = []
        """Of the lineage, when each round began."""
        self._measured: list[tuple[int, float]] = []
        """Blocks and validation error of the shallow network and of every candidate."""
        self._replicates: list[list[float]] = []
        """Of each proposal that was tried with several seeds, the validation error with each of them."""
        self._round: GrowthRound | None = None
        self._cost_of_choosing = Cost()
        """Of the gradients that the placement looked at for the round that is to begin."""
        self._untold: list[GrowthStepDecided] = []
        """Verdicts of a round that is over, which `run` has still to yield."""
        self._stop_reason: str | None = None
        self._is_pruned = False
        self._tail: ArmTraining | None = None
        self._kept_outputs: dict[str, ImageOutputs] = {}

    @property
    def network(self) -> ResNet:
        """The network as accepted so far: the parent of the round under way, if there is one."""
        return self._current.network

    def run(self) -> Iterator[ProcedureEvent]:
        """Yields an EpochFinished for each epoch of each arm, a GrowthStepDecided for each step, then TrialFinished.

        Raises:
            NonFiniteLossError: if the shallow network, or the grown one in its last epochs, diverges. A candidate that
                diverges is rejected.
            GrowthError: if a function-preserving block changed the logits, or the placement names an absent stage.
        """
        if self._seed_cost is None:
            yield from self._train_shallow()  # step 1: a shallow network, end to end
        yield from self._tell()
        while round_ := self._round_to_run():  # step 3: until nothing is left to gain
            yield from round_.run()  # step 2: the same weights, one block more
            while self._verdicts.tries_again(round_, self._num_accepted):
                yield from round_.run()
            self._decide(round_)
            yield from self._tell()
        yield from self._grow_back()
        yield from self._train_on()
        assert self._stop_reason is not None, "growth has come to its end"
        finished, outputs = finish(self._current.arm, self._spent(), reason=self._stop_reason)
        self._kept_outputs |= outputs
        yield finished

    def take_outputs(self) -> dict[str, ImageOutputs]:
        """On the training split, of the shallow network and after each accepted step; at the end, on the others."""
        taken, self._kept_outputs = self._kept_outputs, {}
        return taken

    # ------------------------------------------------------------------------------------------------------- the parts

    def _train_shallow(self) -> Iterator[EpochFinished]:
        for event in self._current.arm.run():
            if self._current.arm.is_done:
                self._end_of_seed()
            yield event

    def _end_of_seed(self) -> None:
        arm = self._current.arm
        self._seed_cost = arm.cost
        self._lineage = list(arm.val_errors)
        self._measured = [(self.network.num_blocks, arm.val_errors[-1])]
        self._keep_training_outputs(step=0)

    def _round_to_run(self) -> GrowthRound | None:
        """The round under way, or a new one; None, and a reason, where growth is over."""
        if self._round is None and self._stop_reason is None:
            self._stop_reason = reason_to_stop(self._stop_rules, self._progress())
            if self._stop_reason is None:
                match self._placement.propose(self._view()):
                    case NothingLeft(reason):
                        self._stop_reason = f"placement: {reason}"
                    case proposals:
                        self._begin_round(proposals)
        return self._round

    def _begin_round(self, proposals: Sequence[Proposal]) -> None:
        self._epochs_before_round.append(len(self._lineage))
        replicates = self._config.accept.replicates
        tried = [
            ProposalArms(proposal, step, num_replicates=replicates)
            for step, proposal in enumerate(proposals, start=len(self._history) + 1)
        ]
        self._round = self._make_round(num_rounds(self._history) + 1, tried)
        self._round.shared_cost, self._cost_of_choosing = self._cost_of_choosing, Cost()

    def _make_round(self, number: int, proposals: Sequence[ProposalArms]) -> GrowthRound:
        placement = self._config.placement
        return GrowthRound(
            number,
            proposals,
            arms=self._arms,
            parent=self._current,
            screens=isinstance(placement, BestOfConfig) and placement.screen != "none",
            has_control=self._config.control,
        )

    def _decide(self, round_: GrowthRound) -> None:
        """By the time that the verdicts are told, a candidate has taken the parent's place, or all are gone."""
        decision = self._verdicts.decide(round_, self._num_accepted)
        self._untold = decision.steps
        for proposal in round_.finalists:
            if not proposal.diverged:
                errors = [candidate.validation.measurement.error for candidate in proposal.candidates]
                self._measured.append((proposal.candidates[0].network.num_blocks, errors[0]))
                self._replicates += [errors] if len(errors) > 1 else []
        if decision.accepted is not None:
            self._current = decision.accepted.candidates[0]
            self._lineage += self._current.arm.val_errors
            self._keep_training_outputs(decision.accepted.step)
        self._round = None

    def _tell(self) -> Iterator[GrowthStepDecided]:
        while self._untold:
            decided = self._untold.pop(0)
            self._history.append(decided)
            yield decided

    def _grow_back(self) -> Iterator[GrowthStepDecided]:
        """Takes away the blocks that the network does as well without."""
        if self._config.prune and not self._is_pruned:
            pruned = prune(self._current, self._history, self._context, self._arms)
            self._current, self._untold, self._is_pruned = pruned.network, pruned.steps, True
        yield from self._tell()

    def _train_on(self) -> Iterator[EpochFinished]:
        """The last epochs, of the grown network itself."""
        if self._config.tail_epochs == 0:
            return
        if self._tail is None:
            self._tail = self._new_tail(self.network)
            self._tail.take_optimizer_state(self._current.arm)
        yield from self._tail.run()
        self._current = Measured(self._tail)

    def _new_tail(self, network: ResNet) -> ArmTraining:
        return self._arms.tail(
            network,
            num_steps=len(self._history),
            num_rounds=num_rounds(self._history),
            first_epoch=1 if self._history else self._current.arm.epochs_done + 1,
        )

    def _keep_training_outputs(self, step: int) -> None:
        if self._config.keep_outputs:
            self._kept_outputs[f"train-{step:04d}"] = self._current.train

    # --------------------------------------------------------------------------------------------------- how far it is

    @property
    def _num_accepted(self) -> int:
        return sum(step.verdict == "accepted" for step in self._history)

    def _progress(self) -> GrowthProgress:
        assert self._current.arm.validation is not None, "the shallow network is trained by now"
        spent = self._spent()
        return GrowthProgress(
            val_error=self._current.arm.validation.error,
            num_blocks=self.network.num_blocks,
            epochs_trained=spent.epochs,
            epochs_of_next_round=epochs_of_a_round(self._config, len(self.network.stages)),
            train_flops=spent.train_flops,
            wall_s=spent.wall_s,
            history=self._history,
            num_validation=self._current.arm.validation.num_images,
            measured=self._measured,
            replicates=self._replicates,
        )

    def _view(self) -> GrowthView:
        return GrowthView(
            blocks=self.network.architecture["blocks"],
            history=self._history,
            val_errors=self._lineage,
            epochs_before_round=(*self._epochs_before_round, len(self._lineage)),
            gradient_norms=self._gradient_norms,
            can_open_stage=self._context.image_shape[1] >= 2 * self.network.total_stride,
        )

    def _gradient_norms(self, num_images: int) -> tuple[float, ...]:
        started = time.perf_counter()
        data_epoch = self._arms.first_data_epoch(num_rounds(self._history) + 1)
        norms = stage_gradient_norms(self.network, self._context, data_epoch=data_epoch, num_images=num_images)
        flops = gradient_flops(self.network, self._context, num_images=num_images)
        self._cost_of_choosing = Cost(train_flops=flops, wall_s=time.perf_counter() - started)
        return norms

    def _spent(self) -> Cost:
        """On the shallow network, on every decided step with all its arms, and on the last epochs."""
        assert self._seed_cost is not None, "the shallow network is trained by now"
        steps = (Cost(epochs=step.epochs, train_flops=step.train_flops, wall_s=step.wall_s) for step in self._history)
        return sum(steps, start=self._seed_cost) + (self._tail.cost if self._tail else Cost())

    # ----------------------------------------------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """All that the rest depends on, at any event, in the middle of a round too."""
        return {
            "current": self._current.arm.state_dict(),
            "seed_cost": None if self._seed_cost is None else dataclasses.asdict(self._seed_cost),
            "history": [dataclasses.asdict(step) for step in self._history],
            "untold": [dataclasses.asdict(step) for step in self._untold],
            "lineage": list(self._lineage),
            "epochs_before_round": list(self._epochs_before_round),
            "measured": [list(point) for point in self._measured],
            "replicates": [list(errors) for errors in self._replicates],
            "round": None if self._round is None else self._round.state_dict(),
            "stop_reason": self._stop_reason,
            "is_pruned": self._is_pruned,
            "tail": None if self._tail is None else self._tail.state_dict(),
        }

    def network_state(self) -> dict[str, Any]:
        """The network as accepted so far, with what its last epochs have made of it."""
        return (self._tail or self._current.arm).network_state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`."""
        self._history = [GrowthStepDecided(**step) for step in state["history"]]
        self._untold = [GrowthStepDecided(**step) for step in state["untold"]]
        self._seed_cost = None if state["seed_cost"] is None else Cost(**state["seed_cost"])
        self._lineage = list(state["lineage"])
        self._epochs_before_round = list(state["epochs_before_round"])
        self._measured = [(blocks, error) for blocks, error in state["measured"]]
        self._replicates = [list(errors) for errors in state["replicates"]]
        self._stop_reason = state["stop_reason"]
        self._is_pruned = state["is_pruned"]
        self._current = Measured(self._load_arm(self._arms.seed(self._arms.build(state["current"])), state["current"]))
        self._round = None
        if state["round"] is not None:
            self._round = self._make_round(state["round"]["number"], [])
            self._round.load_state_dict(state["round"])
        if state["tail"] is not None:
            self._tail = self._load_arm(self._new_tail(self._arms.build(state["tail"])), state["tail"])

    def _load_arm(self, arm: ArmTraining, state: dict[str, Any]) -> ArmTraining:
        arm.load_state_dict(state)
        return arm
