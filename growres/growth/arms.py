"""The arms of a growth: from which network, with which seed, on which batches, at which learning rate each trains."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from growres import events
from growres.config.budget import epochs_alone
from growres.config.experiment import (
    BestOfConfig,
    ConstantSchedule,
    GrowthConfig,
    TrialConfig,
)
from growres.errors import GrowthError, NonFiniteLossError
from growres.growth.carrying import make_carrying
from growres.growth.features import CachedTrunk
from growres.growth.gradients import gradient_flops, patches_by_gradient
from growres.growth.initialisers import LooksAtGradients, TrainsFirst, make_initialiser
from growres.growth.measured import Measured
from growres.growth.network import append_block, block_at, growing_network, largest_logit_change, open_stage
from growres.growth.placement import Proposal
from growres.growth.selection import TrainNewBlock, make_selection, old_parameters
from growres.growth.timing import make_timing
from growres.seeding import seeded, stream_seed
from growres.training.arm import ArmTraining, Cost, ScheduleSpan, TrainSelection, never, train_everything
from growres.training.context import TrainingContext
from growres.training.flops import train_flops_per_image
from growres.training.loop import train_epoch
from zoo.resnet import ResNet

_NUM_IMAGES_TO_CHECK_LOGITS = 64

# On the CPU a zero branch adds exact zeros. Elsewhere the library may choose other algorithms for the copy.
_LOGIT_TOLERANCE_ON_CPU = 0.0
_LOGIT_TOLERANCE_ELSEWHERE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an arm stands in a growth."""

    step: int
    """Of its proposal, from 1."""
    round: int
    """Of the proposals that share a parent, from 1."""
    replicate: int = 0


@dataclass(frozen=True, slots=True)
class Begun:
    """An arm that is ready for its first epoch, and what it took to make it."""

    arm: ArmTraining
    logit_change: float
    cost: Cost


class Arms:
    """Makes the arms of one growth. Batches, block weights and noise are functions of the seed and the place alone.

    All arms of a replicate see the same batches in the same order; a control arm those of its candidate.

    Args:
        most_rounds: of the longest growth that the stop rules allow, over which `whole_run` spreads the schedule.
    """

    def __init__(self, trial: TrialConfig, context: TrainingContext, *, most_rounds: int | None) -> None:
        assert trial.growth is not None, "the configuration requires the section growth of this procedure"
        self._config: GrowthConfig = trial.growth
        self._context = context
        self._initialiser = make_initialiser(trial.growth.initialiser)
        self._carrying = make_carrying(trial.growth.optimizer_at_growth)
        self._timing = make_timing(trial.growth.when)
        self._most_rounds = most_rounds

    @property
    def initialiser_name(self) -> str:
        """As in the configuration."""
        return self._initialiser.name

    def seed(self, network: ResNet) -> ArmTraining:
        """Step 1: the shallow network."""
        epochs = self._config.seed_epochs
        return ArmTraining(
            self._context,
            network,
            architecture=network.architecture,
            epochs=epochs,
            span=self._span(epochs, first_epoch=0),
            is_over=self._timing,
        )

    def tail(self, network: ResNet, *, num_steps: int, num_rounds: int, first_epoch: int) -> ArmTraining:
        """What follows the growth: the network itself, by the schedule as it was configured."""
        epochs = self._config.tail_epochs
        return ArmTraining(
            self._context,
            network,
            architecture=network.architecture,
            epochs=epochs,
            growth_step=num_steps,
            first_data_epoch=self.first_data_epoch(num_rounds + 1),
            first_epoch=first_epoch,
            span=ScheduleSpan(config=self._context.config.schedule, epochs=epochs),
        )

    def untrained(self, network: ResNet) -> ArmTraining:
        """A network to be measured as it is, with a fresh optimiser."""
        return ArmTraining(self._context, network, architecture=network.architecture, epochs=0)

    def first_data_epoch(self, round_number: int) -> int:
        """The epoch of the data's order that a round begins with."""
        return self._config.seed_epochs + (round_number - 1) * self._config.epochs_per_step

    # -------------------------------------------------------------------------------------- arms of a round, begun

    def begin_candidate(self, parent: Measured, proposal: Proposal, place: Place) -> Begun:
        """The parent's weights, and one block more.

        Raises:
            GrowthError: if a function-preserving block changed the logits, or the placement names an absent stage.
        """
        started = time.perf_counter()
        network = parent.network
        own_seed = [place.replicate] if place.replicate else []
        with seeded("block", self._context.seed, place.step, *own_seed):
            grown = (
                open_stage(network, self._initialiser)
                if proposal.opens_stage
                else append_block(network, proposal.stage, self._initialiser)
            )
        cost = self._look_at_gradients(grown, proposal, place)
        logit_change = self._check_function(network, grown, proposal)
        arm = self.candidate(grown, proposal, place, parent=network)
        cost += self._train_first(arm, proposal, parent)
        self._carrying.begin(arm, parent.arm, seed=self._noise_seed(place))
        return Begun(arm, logit_change, cost + Cost(wall_s=time.perf_counter() - started))

    def begin_control(self, parent: ArmTraining, place: Place, *, epochs: int) -> Begun:
        """The parent itself, for as many epochs as the parent's weights learnt in the candidate."""
        started = time.perf_counter()
        arm = self.control(copy.deepcopy(growing_network(parent.network)), place, epochs=epochs)
        self._carrying.begin(arm, parent, seed=self._noise_seed(place))
        return Begun(arm, 0.0, Cost(wall_s=time.perf_counter() - started))

    def begin_screening(self, parent: ArmTraining, proposal: Proposal, place: Place) -> Begun:
        """The candidate's network, whose new block alone trains for a few epochs."""
        started = time.perf_counter()
        network = growing_network(parent.network)
        with seeded("block", self._context.seed, place.step):
            grown = append_block(network, proposal.stage, self._initialiser)
        cost = self._look_at_gradients(grown, proposal, place)
        logit_change = self._check_function(network, grown, proposal)
        arm = self.screening(grown, proposal, place)
        return Begun(arm, logit_change, cost + Cost(wall_s=time.perf_counter() - started))

    # ---------------------------------------------------------------------- the same, of a network that is there

    def candidate(self, network: ResNet, proposal: Proposal, place: Place, *, parent: ResNet) -> ArmTraining:
        """An arm for a grown network."""
        return self._arm(
            "candidate",
            network,
            place,
            epochs=self._config.epochs_per_step,
            select=make_selection(self._config, proposal),
            old_parent=parent,
            stand_in=self._cached_trunk(network, proposal, place),
        )

    def control(self, network: ResNet, place: Place, *, epochs: int) -> ArmTraining:
        """An arm for a copy of the parent.

        Args:
            epochs: see `epochs_of_control`. They are the last ones of the candidate: the same batches, the same place
                in the schedule.
        """
        return self._arm(
            "control",
            network,
            place,
            epochs=epochs,
            select=train_everything,
            old_parent=network,
            num_skipped=epochs_alone(self._config),
        )

    def epochs_of_control(self, epochs_of_candidate: int) -> int:
        """While the new block alone learns, nothing of the parent does: there is nothing to train without the block."""
        return max(epochs_of_candidate - epochs_alone(self._config), 0)

    def screening(self, network: ResNet, proposal: Proposal, place: Place) -> ArmTraining:
        """An arm for a grown network whose new block alone is tried."""
        assert isinstance(self._config.placement, BestOfConfig)
        epochs = self._config.placement.screen_epochs
        return self._arm(
            "screen",
            network,
            place,
            epochs=epochs,
            select=TrainNewBlock(proposal, epochs_alone=epochs),
            stand_in=self._trunk(network, proposal, place, epochs=epochs, num_copies=1),
            span=ScheduleSpan(config=ConstantSchedule(name="constant"), epochs=epochs),
        )

    def build(self, state: dict[str, Any]) -> ResNet:
        """The network of an arm's state, with the weights of the trial's seed."""
        return growing_network(self._context.build(state["architecture"]))

    def _arm(
        self,
        name: events.Arm,
        network: ResNet,
        place: Place,
        *,
        epochs: int,
        select: TrainSelection,
        old_parent: ResNet | None = None,
        stand_in: CachedTrunk | None = None,
        span: ScheduleSpan | None = None,
        num_skipped: int = 0,
    ) -> ArmTraining:
        """The arm; `num_skipped` epochs of the step pass before its first."""
        first = self.first_data_epoch(place.round)
        span = span or self._span(self._config.epochs_per_step, first_epoch=first)
        return ArmTraining(
            self._context_of(place),
            growing_network(self._context.place(network)),
            architecture=network.architecture,
            epochs=epochs,
            growth_step=place.step,
            arm=name,
            replicate=place.replicate,
            first_data_epoch=first + num_skipped,
            first_epoch=1 + num_skipped,
            select=select,
            span=replace(span, first_epoch=span.first_epoch + num_skipped),
            old_lr=None if old_parent is None else old_parameters(self._config, old_parent),
            is_over=self._timing if name == "candidate" else never,
            stand_in=stand_in,
        )

    def _span(self, epochs: int, *, first_epoch: int) -> ScheduleSpan:
        match self._config.schedule_at_growth:
            case "restart":
                return ScheduleSpan(config=self._context.config.schedule, epochs=epochs)
            case "constant":
                return ScheduleSpan(config=ConstantSchedule(name="constant"), epochs=epochs)
            case "whole_run":
                assert self._most_rounds is not None, "the configuration requires a bound on the rounds"
                whole_run = self.first_data_epoch(self._most_rounds + 1)
                return ScheduleSpan(config=self._context.config.schedule, epochs=whole_run, first_epoch=first_epoch)

    def _context_of(self, place: Place) -> TrainingContext:
        if place.replicate == 0:
            return self._context
        return replace(self._context, seed=stream_seed("replicate", self._context.seed, place.replicate))

    def _noise_seed(self, place: Place) -> int:
        """The same for a candidate and its control, so that their old weights begin alike."""
        return stream_seed("growth", self._context.seed, place.round, place.replicate)

    # ------------------------------------------------------------------------------------------------ what they need

    def _cached_trunk(self, network: ResNet, proposal: Proposal, place: Place) -> CachedTrunk | None:
        alone, asked = epochs_alone(self._config), self._config.cache_features
        if alone == 0 or asked == "never" or (asked == "auto" and self._context.config.augment):
            return None
        num_copies = 1 if asked == "auto" else min(asked, alone)
        return self._trunk(network, proposal, place, epochs=alone, num_copies=num_copies)

    def _trunk(
        self, network: ResNet, proposal: Proposal, place: Place, *, epochs: int, num_copies: int
    ) -> CachedTrunk | None:
        """None where the features would not fit."""
        trunk = CachedTrunk(
            self._context_of(place),
            proposal,
            epochs=epochs,
            num_copies=num_copies,
            first_data_epoch=self.first_data_epoch(place.round),
        )
        return trunk if trunk.fits(network) else None

    def _look_at_gradients(self, grown: ResNet, proposal: Proposal, place: Place) -> Cost:
        if not isinstance(self._initialiser, LooksAtGradients):
            return Cost()
        number = self._initialiser.num_images
        correlation_PD = patches_by_gradient(
            grown, proposal, self._context_of(place), data_epoch=self.first_data_epoch(place.round), num_images=number
        )
        self._initialiser.use_gradients(block_at(grown, proposal.stage, proposal.block), correlation_PD)
        return Cost(train_flops=gradient_flops(grown, self._context, num_images=number))

    def _train_first(self, arm: ArmTraining, proposal: Proposal, parent: Measured) -> Cost:
        """Trains what the initialiser wants trained first, until the training error is nearly the parent's.

        An arm that diverges here has no epochs of its own.
        """
        initialiser = self._initialiser
        if not isinstance(initialiser, TrainsFirst):
            return Cost()
        network = growing_network(arm.network).requires_grad_(False)
        trainable = initialiser.trainable(block_at(network, proposal.stage, proposal.block))
        for parameter in trainable:
            parameter.requires_grad_(True)
        optimizer = torch.optim.Adam(trainable, lr=initialiser.lr)
        good_enough = parent.train.measurement.error + initialiser.tolerance
        per_image = train_flops_per_image(network, network.architecture, arm.context.image_shape)
        cost = Cost()
        while cost.epochs < initialiser.max_epochs and not arm.diverged and arm.measure("train").error > good_enough:
            cost += Cost(epochs=1, train_flops=per_image * arm.context.data.num_train)
            _train_before(arm, optimizer, lr=initialiser.lr, epoch=cost.epochs)
        network.requires_grad_(True)
        return cost

    def _check_function(self, parent: ResNet, grown: ResNet, proposal: Proposal) -> float:
        images, _ = next(iter(self._context.data.eval_batches("validation", batch_size=_NUM_IMAGES_TO_CHECK_LOGITS)))
        change = largest_logit_change(parent, grown, images)
        on_cpu = self._context.device.type == "cpu"
        tolerance = _LOGIT_TOLERANCE_ON_CPU if on_cpu else _LOGIT_TOLERANCE_ELSEWHERE
        keeps = self._initialiser.function_preserving and not proposal.opens_stage
        if keeps and not change <= tolerance:
            raise GrowthError(
                f"Appending a block to stage {proposal.stage} with {self._initialiser.name} changed the logits by up "
                f"to {change:.3g}; a function-preserving initialiser may change them by at most {tolerance:g}. "
                f"This is a fault of growres: please report it with the model and the initialiser. Meanwhile "
                f"initialiser: kaiming, which preserves nothing, is not checked."
            )
        return change


def _train_before(arm: ArmTraining, optimizer: torch.optim.Optimizer, *, lr: float, epoch: int) -> None:
    """One epoch of an arm's network before those that are the arm's own; the arm remembers if it diverges."""
    context = arm.context
    seed = stream_seed("train first", context.seed, arm.growth_step)
    torch.manual_seed(stream_seed("dropout", seed, epoch))
    try:
        train_epoch(
            arm.network.train(),
            context.data.train_batches(seed, epoch),
            optimizer=optimizer,
            lr_of_step=lambda step: lr,
            first_step=0,
            num_steps=context.data.steps_per_epoch,
            precision=context.precision,
        )
    except NonFiniteLossError as error:
        arm.diverged = f"While the initialiser trained the new block: {error}"
