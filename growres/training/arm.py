"""One network on its way through its epochs: what an end-to-end trial is, and what each arm of a growth step is."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import nn

from growres import events
from growres.config.experiment import ScheduleConfig, SdlmConfig
from growres.errors import NonFiniteLossError
from growres.events import EpochFinished
from growres.seeding import stream_seed
from growres.training.context import TrainingContext
from growres.training.flops import train_flops_per_image
from growres.training.loop import HOW_TO_CALM_DOWN, Measurement, Objective, evaluate, train_epoch
from growres.training.optimizers import OldParameters, load_state_by_name, make_optimizer, state_by_name
from growres.training.outputs import ImageOutputs, measure_outputs
from growres.training.schedules import Schedule
from growres.training.sdlm import StochasticDiagonalLM
from zoo.auxiliary import num_params


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What training took, diverged epochs included."""

    epochs: int = 0
    train_flops: int = 0
    wall_s: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            epochs=self.epochs + other.epochs,
            train_flops=self.train_flops + other.train_flops,
            wall_s=self.wall_s + other.wall_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpan:
    """Where some epochs lie in a schedule."""

    config: ScheduleConfig
    epochs: int
    """Over how many it runs."""
    first_epoch: int = 0
    """Which of them is the first of these."""


TrainSelection = Callable[[nn.Module, int], None]
"""Sets, before epoch 1, 2, ... of an arm, which parameters learn and which modules are in training mode."""


def train_everything(network: nn.Module, epoch: int) -> None:
    """Every parameter learns in every epoch."""
    network.train().requires_grad_(True)


def train_only(network: nn.Module, parts: Iterable[nn.Module]) -> None:
    """Those parts of the network learn; the rest is frozen.

    What is frozen is in evaluation mode, so that its batch statistics stay as they were. No gradient is asked of it, so
    that autograd keeps nothing of its pass.
    """
    network.eval().requires_grad_(False)
    for part in parts:
        part.train().requires_grad_(True)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A part of an arm's network that can be trained in its place, and what it is trained with."""

    network: nn.Module
    """Shares its parameters with the arm's network."""
    context: TrainingContext
    extra_flops: int
    """What it took to make, in the epoch that made it."""


class StandIn(Protocol):
    """Knows a part of a network that is cheaper to train than the whole, where the rest is frozen."""

    def of(self, network: nn.Module, epoch: int) -> View | None:
        """The part for this epoch, counted from 1; None: the whole network."""
        ...

    def release(self) -> None:
        """Lets go of what it keeps: no epoch follows."""
        ...


def never(val_errors: Sequence[float]) -> bool:
    """Every epoch is trained."""
    return False


class ArmTraining:
    """A network with its optimiser, trained for a number of epochs.

    Between any two epochs `state_dict` holds all that the rest depends on: the architecture, the weights and buffers,
    the optimiser's tensors and the counts so far. Batches, dropout and learning rates are functions of the seed and the
    epoch, so that a resumed arm is, on the CPU bit for bit, the uninterrupted one.

    Args:
        epochs: how many it trains in all, or at most.
        growth_step: 0 for a network before any growth.
        replicate: which of the paired seeds of a proposal the context has.
        first_data_epoch: the epoch of the data's order that its first epoch uses; arms of one step share it.
        first_epoch: the number that its first epoch has in the record.
        architecture: the name and arguments that rebuild the network with `context.build`.
        lowers: what training lowers; None for the cross-entropy.
        span: where its epochs lie in the learning rate's schedule; by default the schedule runs over them alone.
        old_lr: the learning rate of some parameters as a fraction of the others'; by default all have the same.
        stand_in: trains a part of the network in its place, in some epochs.
        is_over: whether to end before `epochs`, given the validation errors of the epochs so far.
    """

    def __init__(
        self,
        context: TrainingContext,
        network: nn.Module,
        *,
        architecture: dict[str, Any],
        epochs: int,
        growth_step: int = 0,
        arm: events.Arm = "network",
        replicate: int = 0,
        first_data_epoch: int = 0,
        first_epoch: int = 1,
        select: TrainSelection = train_everything,
        lowers: Objective | None = None,
        span: ScheduleSpan | None = None,
        old_lr: OldParameters | None = None,
        is_over: Callable[[Sequence[float]], bool] = never,
        stand_in: StandIn | None = None,
    ) -> None:
        self.context = context
        self.network = network
        self.architecture = architecture
        self.epochs = epochs
        self.growth_step = growth_step
        self.arm: events.Arm = arm
        self.replicate = replicate
        self.val_errors: list[float] = []
        """The validation error after each epoch so far."""
        self.cost = Cost()
        self.validation: Measurement | None = None
        self.diverged: str | None = None
        self._first_data_epoch = first_data_epoch
        self._first_epoch = first_epoch
        self._select = select
        self._lowers = lowers
        self._is_over = is_over
        self._stand_in = stand_in
        self._optimizer = make_optimizer(network, context.config.optimizer, old_lr)
        span = span or ScheduleSpan(config=context.config.schedule, epochs=epochs)
        self._first_schedule_step = span.first_epoch * context.data.steps_per_epoch
        self._schedule = Schedule(
            config=span.config,
            base_lr=context.config.optimizer.lr,
            epochs=span.epochs,
            steps_per_epoch=context.data.steps_per_epoch,
        )

    @property
    def epochs_done(self) -> int:
        """Epochs trained so far, but for one that diverged."""
        return len(self.val_errors)

    @property
    def is_done(self) -> bool:
        """Whether no epoch is left to train."""
        return self.epochs_done >= self.epochs or self._is_over(self.val_errors)

    @property
    def num_params(self) -> int:
        """Trainable parameters, frozen ones included, those of auxiliary classifiers not: they end with training."""
        return num_params(self.network)

    def take_optimizer_state(self, parent: ArmTraining) -> None:
        """Copies the parent's optimiser tensors for the parameters that both networks have, in the same shape.

        The others start fresh: those of a new block, and of a head that a new stage has made wider.
        """
        shapes = {name: parameter.shape for name, parameter in self.network.named_parameters()}
        of_same_shape = {
            name for name, parameter in parent.network.named_parameters() if shapes.get(name) == parameter.shape
        }
        state = state_by_name(parent._optimizer, parent.network)
        shared = {name: tensors for name, tensors in state.items() if name in of_same_shape}
        load_state_by_name(self._optimizer, self.network, shared)

    def run(self) -> Iterator[EpochFinished]:
        """Trains the epochs that are left.

        Raises:
            NonFiniteLossError: if the loss diverges; `diverged` then holds the message, and no more epochs follow.
        """
        while not self.is_done:
            try:
                event = self._run_epoch()
            except NonFiniteLossError as error:
                self.diverged = str(error)
                raise
            finally:
                if self._stand_in is not None and (self.is_done or self.diverged):
                    self._stand_in.release()
            yield event

    def measure(self, split: Literal["train", "validation", "test"]) -> Measurement:
        """Loss and error over the whole split, in evaluation mode, without augmentation."""
        return evaluate(self.network, self.context.data.eval_batches(split), precision=self.context.precision)

    def outputs(self, split: Literal["train", "validation", "test"]) -> ImageOutputs:
        """What the network says of every image of the split, in evaluation mode, without augmentation."""
        return measure_outputs(self.network, self.context.data.eval_batches(split), precision=self.context.precision)

    def _run_epoch(self) -> EpochFinished:
        started = time.perf_counter()
        epoch = self.epochs_done + 1
        self._select(self.network, epoch)
        view = self._view(epoch)
        train_flops = view.extra_flops + epoch_flops(view.context, view.network, self.architecture)
        training_started = time.perf_counter()
        try:
            training = self._train_epoch(view)
            training_s = time.perf_counter() - training_started
            validation = self._validate(view)
        finally:  # an epoch that diverged was trained too
            epoch_s = time.perf_counter() - started
            self.cost += Cost(epochs=1, train_flops=train_flops, wall_s=epoch_s)
        self.val_errors.append(validation.error)
        self.validation = validation
        return EpochFinished(
            growth_step=self.growth_step,
            arm=self.arm,
            epoch=self._first_epoch + epoch - 1,
            replicate=self.replicate,
            train_loss=training.loss,
            train_error=training.error,
            val_loss=validation.loss,
            val_error=validation.error,
            lr=self._schedule.lr(self._first_schedule_step + epoch * self._schedule.steps_per_epoch - 1),
            train_flops=train_flops,
            images_per_s=training.num_images / training_s,
            epoch_s=epoch_s,
        )

    def _view(self, epoch: int) -> View:
        part = None if self._stand_in is None else self._stand_in.of(self.network, epoch)
        return part or View(network=self.network, context=self.context, extra_flops=0)

    def _validate(self, view: View) -> Measurement:
        """After the epoch's last update, whose effect no training loss has shown yet."""
        batches = view.context.data.eval_batches("validation")
        validation = evaluate(view.network, batches, precision=self.context.precision)
        if not math.isfinite(validation.loss):
            step = self._first_schedule_step + (self.epochs_done + 1) * self._schedule.steps_per_epoch
            raise NonFiniteLossError(
                f"The validation loss became {validation.loss} after step {step}, where the learning rate was "
                f"{self._schedule.lr(step - 1):.4g}. {HOW_TO_CALM_DOWN}"
            )
        return validation

    def _train_epoch(self, view: View) -> Measurement:
        context = view.context
        data_epoch = self._first_data_epoch + self.epochs_done
        self._estimate_curvature(data_epoch)
        torch.manual_seed(stream_seed("dropout", context.seed, data_epoch))
        return train_epoch(
            view.network,
            context.data.train_batches(context.seed, data_epoch),
            optimizer=self._optimizer,
            lr_of_step=self._schedule.lr,
            first_step=self._first_schedule_step + self.epochs_done * self._schedule.steps_per_epoch,
            num_steps=self._schedule.steps_per_epoch,
            precision=context.precision,
            label_smoothing=context.config.label_smoothing,
            clip_grad_norm=context.config.clip_grad_norm,
            lowers=self._lowers,
        )

    def _estimate_curvature(self, data_epoch: int) -> None:
        if isinstance(self._optimizer, StochasticDiagonalLM):
            images = self.context.data.first_images(self.context.seed, data_epoch, _num_curvature_images(self.context))
            generator = torch.Generator().manual_seed(stream_seed("curvature", self.context.seed, data_epoch))
            self._optimizer.estimate_curvature(self.network, images, generator)

    def network_state(self) -> dict[str, Any]:
        """What rebuilds the network as it stands: its `architecture`, and its `weights` (parameters and buffers)."""
        return {"architecture": self.architecture, "weights": self.network.state_dict()}

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of this arm, and whoever reads its result, depends on."""
        return {
            **self.network_state(),
            "optimizer": state_by_name(self._optimizer, self.network),
            "val_errors": list(self.val_errors),
            "cost": dataclasses.asdict(self.cost),
            "validation": None if self.validation is None else dataclasses.asdict(self.validation),
            "diverged": self.diverged,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`, which an arm of the same architecture wrote."""
        assert state["architecture"] == self.architecture, "build the arm from the state's architecture first"
        self.network.load_state_dict(state["weights"])
        load_state_by_name(self._optimizer, self.network, state["optimizer"])
        self.val_errors = list(state["val_errors"])
        self.cost = Cost(**state["cost"])
        self.validation = None if state["validation"] is None else Measurement(**state["validation"])
        self.diverged = state["diverged"]


def epoch_flops(context: TrainingContext, network: nn.Module, architecture: dict[str, Any]) -> int:
    """Training FLOPs of one epoch with what learns in the network now, the optimiser's own images included."""
    num_images = context.data.num_train + _num_curvature_images(context)
    return num_images * train_flops_per_image(network, architecture, context.image_shape)


def _num_curvature_images(context: TrainingContext) -> int:
    """Images whose gradients the optimiser looks at before each epoch: none, but for LeNet's."""
    config = context.config.optimizer
    return min(config.samples, context.data.num_train) if isinstance(config, SdlmConfig) else 0
