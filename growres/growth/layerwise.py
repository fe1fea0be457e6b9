"""Greedy layer-wise training: each block learns under a head of its own, on top of blocks that no longer change.

Belilovsky, Eickenberg and Oyallon, Greedy Layerwise Learning Can Scale to ImageNet, 2019 (arXiv:1812.11446,
algorithm 1). The first unit is the stem with the first block, every further one a residual block. A unit is trained
with a fresh auxiliary head, a fresh optimiser and the whole schedule; then it is frozen, in evaluation mode, so that
its batch statistics stay as they were too.

How we differ: a unit is a residual block, where the paper's is one convolution; downsampling is the blocks' own; the
heads are not averaged into an ensemble, the last one predicts. The network after a unit's last epoch goes on: the
paper's guarantee (proposition 3.1) speaks of the best point of a training run, but choosing that by the validation
split would be a selection that the other procedures are not granted.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from growres.config.experiment import TrialConfig
from growres.events import GrowthStepDecided, ProcedureEvent
from growres.growth.network import first_blocks, growing_network, largest_logit_change
from growres.training.arm import ArmTraining, Cost, train_only
from growres.training.context import TrainingContext
from growres.training.networks import AUXILIARY_DEPTH, LayerwiseNetwork
from growres.training.outputs import ImageOutputs
from growres.training.procedure import finish

_NUM_IMAGES_TO_COMPARE_LOGITS = 64


def train_newest_layer(network: nn.Module, epoch: int) -> None:
    """The newest block and the head learn, with the stem where there is no other block; the rest stays as it is."""
    network = cast(LayerwiseNetwork, network)
    learning = [network.newest_block, network.head]
    if network.num_blocks == 1:
        learning.append(network.stem)
    train_only(network, learning)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """What is told of the network that a layer was put on, and of putting it there."""

    train_error: float
    val_error: float
    num_params: int
    logit_change: float
    begin_s: float


class Layerwise:
    """A residual network trained one block after the other, to the depth that the configuration's model has."""

    def __init__(self, trial: TrialConfig, context: TrainingContext) -> None:
        """The procedure at its beginning.

        Raises:
            GrowthError: if the model has no residual stages.
        """
        assert trial.layerwise is not None, "the configuration requires the section layerwise"
        self._context = context
        self._config = trial.layerwise
        self._whole = growing_network(context.build({"name": trial.model.name, **trial.model.kwargs})).architecture
        self._number = 1
        self._layer = self._arm(self._network(1))
        self._before: _Before | None = None
        self._first_cost = Cost()
        self._history: list[GrowthStepDecided] = []
        self._kept_outputs: dict[str, ImageOutputs] = {}

    @property
    def network(self) -> LayerwiseNetwork:
        """The blocks so far, the one under training included, with its head."""
        return cast(LayerwiseNetwork, self._layer.network)

    def run(self) -> Iterator[ProcedureEvent]:
        """Yields an EpochFinished for each epoch, a GrowthStepDecided for each block but the first, then TrialFinished.

        Raises:
            NonFiniteLossError: if a layer diverges.
        """
        while True:
            yield from self._layer.run()
            if self._before is not None:
                yield self._decide(self._before)
            if self._number == self._num_layers:
                break
            self._begin_layer()
        reason = f"layerwise: trained {self._num_layers} blocks in turn, {self._config.epochs_per_layer} epochs each"
        finished, outputs = finish(self._layer, self._spent(), reason=reason)
        self._kept_outputs |= outputs
        yield finished

    def take_outputs(self) -> dict[str, ImageOutputs]:
        """On the training split, after each block; at the end, on the others."""
        taken, self._kept_outputs = self._kept_outputs, {}
        return taken

    @property
    def _num_layers(self) -> int:
        return sum(self._whole["blocks"])

    def _spent(self) -> Cost:
        first = self._layer.cost if self._number == 1 else self._first_cost
        steps = (Cost(epochs=step.epochs, train_flops=step.train_flops, wall_s=step.wall_s) for step in self._history)
        return sum(steps, start=first)

    def _begin_layer(self) -> None:
        started = time.perf_counter()
        below = self._layer
        assert below.validation is not None, "the layer below is trained by now"
        if self._number == 1:
            self._first_cost, train_error = below.cost, self._training_error(step=0)
        else:
            train_error = cast(float, self._history[-1].train_error_candidate)
        self._number += 1
        network = self._network(self._number)
        _copy_trunk(self.network, network)
        images, _ = next(iter(self._context.data.eval_batches("validation", batch_size=_NUM_IMAGES_TO_COMPARE_LOGITS)))
        logit_change = largest_logit_change(below.network, network, images)
        self._layer = self._arm(network)
        self._before = _Before(
            train_error=train_error,
            val_error=below.validation.error,
            num_params=below.num_params,
            logit_change=logit_change,
            begin_s=time.perf_counter() - started,
        )

    def _decide(self, before: _Before) -> GrowthStepDecided:
        """The block as a growth step that was accepted, as every one is: nothing is ever taken back."""
        started = time.perf_counter()
        layer, blocks = self._layer, self._architecture(self._number)["blocks"]
        assert layer.validation is not None
        train_error = self._training_error(step=self._number - 1)
        cost = layer.cost + Cost(wall_s=before.begin_s + time.perf_counter() - started)
        decided = GrowthStepDecided(
            step=self._number - 1,
            round=self._number - 1,
            stage=len(blocks) - 1,
            block=blocks[-1] - 1,
            initialiser="kaiming",
            train_error_before=before.train_error,
            train_error_candidate=train_error,
            val_error_before=before.val_error,
            val_error_candidate=layer.validation.error,
            val_error_control=None,
            p_value=None,
            verdict="accepted",
            reason=f"layerwise: always kept; val_error {before.val_error:.4f} -> {layer.validation.error:.4f}",
            num_params_before=before.num_params,
            num_params_after=layer.num_params,
            epochs=cost.epochs,
            train_flops=cost.train_flops,
            wall_s=cost.wall_s,
            max_logit_change=before.logit_change,
        )
        self._before = None
        self._history.append(decided)
        return decided

    def _training_error(self, *, step: int) -> float:
        """Of the network as it stands, whose outputs are kept."""
        outputs = self._layer.outputs("train")
        self._kept_outputs[f"train-{step:04d}"] = outputs
        return outputs.measurement.error

    def _architecture(self, number: int) -> dict[str, Any]:
        """The first so many blocks, under an auxiliary head."""
        blocks = first_blocks(self._whole["blocks"], number)
        widths = self._whole["widths"][: len(blocks)]
        return {**self._whole, "blocks": blocks, "widths": widths, AUXILIARY_DEPTH: self._config.depth}

    def _network(self, number: int) -> LayerwiseNetwork:
        """So many blocks, all of them fresh, and a head."""
        return cast(LayerwiseNetwork, self._context.build(self._architecture(number), "layer", number))

    def _arm(self, network: LayerwiseNetwork) -> ArmTraining:
        steps_before = self._number - 1
        return ArmTraining(
            self._context,
            network,
            architecture=network.architecture,
            epochs=self._config.epochs_per_layer,
            growth_step=steps_before,
            arm="network" if steps_before == 0 else "candidate",
            first_data_epoch=steps_before * self._config.epochs_per_layer,
            select=train_newest_layer,
        )

    def network_state(self) -> dict[str, Any]:
        """The network that a person would use, with as many blocks as are trained: its architecture and weights."""
        return self._layer.network_state()

    def state_dict(self) -> dict[str, Any]:
        """All that the rest depends on, at any event."""
        return {
            "number": self._number,
            "layer": self._layer.state_dict(),
            "before": None if self._before is None else dataclasses.asdict(self._before),
            "first_cost": dataclasses.asdict(self._first_cost),
            "history": [dataclasses.asdict(step) for step in self._history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`."""
        self._number = state["number"]
        self._layer = self._arm(self._network(self._number))
        self._layer.load_state_dict(state["layer"])
        self._before = None if state["before"] is None else _Before(**state["before"])
        self._first_cost = Cost(**state["first_cost"])
        self._history = [GrowthStepDecided(**step) for step in state["history"]]


def _copy_trunk(trained: LayerwiseNetwork, network: LayerwiseNetwork) -> None:
    """The stem and blocks of the trained network, their batch statistics too, in a network of more blocks."""
    trunk = {name: value for name, value in trained.state_dict().items() if not name.startswith("head.")}
    unexpected = network.load_state_dict(trunk, strict=False).unexpected_keys
    assert not unexpected, f"the deeper network lacks {unexpected}"
