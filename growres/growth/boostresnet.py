"""BoostResNet: residual blocks trained one after the other, each as the weak learner of one round of boosting.

Huang, Ash, Langford and Schapire, Learning Deep ResNet Blocks Sequentially using Boosting Theory, ICML 2018
(arXiv:1706.04964): algorithm 1 with its oracle, algorithm 2, in the form for several classes. In round t the network so
far is frozen, and a block with a linear head on top of it is trained; its softmax is the hypothesis module o_{t+1}.
The round's weak module classifier is h_t = alpha_{t+1} o_{t+1} - alpha_t o_t, its loss the exponential one under the
costs C_t, gamma_t is measured under the same costs on the training images, and training goes on while gamma_t exceeds
a threshold. All h_t telescope to alpha_{T+1} o_{T+1}: the last network, whose head is the only one that is kept.

What the authors' released code does otherwise, and this does not: its softmax runs over the batch and is put through a
cross-entropy once more, no costs are in its training loss, alpha_t and o_t are never updated so that h_t does not
telescope, and every round's head stands on the final, untrained blocks of a network of fixed depth.

What the paper leaves open, as chosen here:

    alpha       is minimised in turn with the block: alpha_t, at least 1, while the block is trained; and then in closed
                form, which is what the bound rests on. At least 1, since alpha_0 = 0 would leave nothing to lower.
    the head    is the zoo's own: global average and linear layer, after norm and relu in a pre-activation network.
    start       every block and every head begin as the zoo makes them, with a fresh optimiser and the whole schedule.
    the images  are augmented in training; gamma and the costs are measured without augmentation, in evaluation mode.
    the stem    is trained with the first block.
    the end     the block whose gamma does not exceed the threshold is dropped; the one before it has the last word.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from growres.analysis.boosting import BoostingStep, Hypothesis, next_step
from growres.config.experiment import TrialConfig
from growres.errors import NonFiniteLossError
from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent
from growres.growth.network import blocks_of, first_blocks, growing_network, largest_logit_change
from growres.training.arm import ArmTraining, Cost, train_only
from growres.training.context import TrainingContext
from growres.training.loop import probabilities
from growres.training.outputs import ImageOutputs
from growres.training.procedure import finish
from zoo.resnet import ResNet

_NUM_IMAGES_TO_COMPARE_LOGITS = 64
_LEAST_ALPHA_IN_TRAINING = 1.0


@dataclass(frozen=True, slots=True)
class ModuleLoss:
    """The exponential loss of a round's weak module classifier under the costs that the rounds before it left.

    For an image with label y it is the sum over the other classes l of C_t(l) exp(h_t(l) - h_t(y)). The costs are
    C_t(l) = exp(s_t(l) - s_t(y)) with s_t = alpha_t o_t, the telescoped sum of the rounds before, and they meet the
    same alpha_t o_t in h_t: what is left is the sum of exp(alpha (o(l) - o(y))). So the costs are in this loss although
    o_t need not be computed for it; they are seen where they do not cancel, in the edge and in gamma.
    """

    alpha: float

    def __call__(self, logits_NK: Tensor, labels: Tensor) -> Tensor:
        """The mean over the images; K - 1 where the network knows nothing."""
        o_NK = logits_NK.softmax(dim=1)
        behind_NK = o_NK - o_NK.gather(1, labels[:, None])
        return (self.alpha * behind_NK).exp().sum(dim=1).mean() - 1  # the label's own term


def train_newest_block(network: nn.Module, epoch: int) -> None:
    """The newest block and the head learn, with the stem where there is no other block."""
    network = growing_network(network)
    learning: list[nn.Module] = [blocks_of(network, -1)[-1], network.head]
    if network.num_blocks == 1:
        learning.append(network.stem)
    train_only(network, learning)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """A block under training on top of those that were kept."""

    arm: ArmTraining
    logit_change: float
    begin_s: float
    """What building and comparing took."""

    def run(self) -> Iterator[EpochFinished]:
        """Trains what is left; one that diverges ends there."""
        if self.arm.diverged is None:
            try:
                yield from self.arm.run()
            except NonFiniteLossError:
                return  # the arm remembers why

    def state_dict(self) -> dict[str, Any]:
        return {"arm": self.arm.state_dict(), "logit_change": self.logit_change, "begin_s": self.begin_s}


class BoostResNet:
    """A residual network trained in rounds of boosting, a block a round, at most to the depth of the trial's model."""

    def __init__(self, trial: TrialConfig, context: TrainingContext) -> None:
        """The procedure at its beginning.

        Raises:
            GrowthError: if the model has no residual stages.
        """
        assert trial.boostresnet is not None, "the configuration requires the section boostresnet"
        self._config = trial.boostresnet
        self._context = context
        self._whole = growing_network(context.build({"name": trial.model.name, **trial.model.kwargs})).architecture
        self._current = self._arm(1, _LEAST_ALPHA_IN_TRAINING)
        self._candidate: _Round | None = None
        self._refinement: ArmTraining | None = None
        self._steps: list[BoostingStep] = []
        self._history: list[GrowthStepDecided] = []
        self._first_cost = Cost()
        self._outputs: NDArray[np.float32] | None = None
        self._kept_outputs: dict[str, ImageOutputs] = {}

    @property
    def network(self) -> ResNet:
        """The blocks that were kept so far, with the last one's head."""
        return growing_network(self._current.network)

    @property
    def steps(self) -> tuple[BoostingStep, ...]:
        """The boosting figures of the networks that were kept, the first block's first."""
        return tuple(self._steps)

    def run(self) -> Iterator[ProcedureEvent]:
        """Yields an EpochFinished for each epoch, a GrowthStepDecided for each block but the first, then TrialFinished.

        Raises:
            NonFiniteLossError: if the first block or the refinement diverges. Any other block that does is dropped.
        """
        yield from self._current.run()
        if not self._steps:
            self._weigh_the_first()
        while (reason := self._reason_to_stop()) is None:
            if self._candidate is None:
                self._candidate = self._begin_round()
            yield from self._candidate.run()
            yield self._decide(self._candidate)
        if self._config.refine_epochs:
            if self._refinement is None:
                self._refinement = self._begin_refinement()
            yield from self._refinement.run()
            reason += f"; then all {self.network.num_blocks} together for {self._config.refine_epochs} epochs"
        finished, outputs = finish(self._refinement or self._current, self._spent(), reason=reason)
        self._kept_outputs |= outputs
        yield finished

    def take_outputs(self) -> dict[str, ImageOutputs]:
        """On the training split, after each block; at the end, on the others."""
        taken, self._kept_outputs = self._kept_outputs, {}
        return taken

    def _reason_to_stop(self) -> str | None:
        if self._history and self._history[-1].verdict != "accepted":
            return f"weak learning: block {self.network.num_blocks + 1} was dropped: {self._history[-1].reason}"
        if not self._history and not self._is_weak_learner(self._steps[0]):
            return f"weak learning: the first block alone: {self._figures_in_words(self._steps[0])}"
        if self.network.num_blocks == sum(self._whole["blocks"]):
            return f"trained all {self.network.num_blocks} blocks of the model"
        return None

    def _spent(self) -> Cost:
        """On every block, a dropped one included, and on the refinement."""
        rounds = (Cost(epochs=step.epochs, train_flops=step.train_flops, wall_s=step.wall_s) for step in self._history)
        refinement = Cost() if self._refinement is None else self._refinement.cost
        return sum(rounds, start=self._first_cost) + refinement

    def _weigh_the_first(self) -> None:
        started = time.perf_counter()
        self._outputs, labels = self._outputs_of(self._current)
        self._steps.append(next_step(labels, self._outputs, None, gamma_threshold=self._config.min_gamma or 0.0))
        self._kept_outputs["train-0000"] = self._current.outputs("train")
        self._first_cost = self._current.cost + Cost(wall_s=time.perf_counter() - started)

    def _begin_round(self) -> _Round:
        started = time.perf_counter()
        arm = self._arm(self.network.num_blocks + 1, max(self._steps[-1].alpha, _LEAST_ALPHA_IN_TRAINING))
        below = {name: value for name, value in self.network.state_dict().items() if not name.startswith("head.")}
        unexpected = arm.network.load_state_dict(below, strict=False).unexpected_keys
        assert not unexpected, f"the deeper network lacks {unexpected}"
        images, _ = next(iter(self._context.data.eval_batches("validation", batch_size=_NUM_IMAGES_TO_COMPARE_LOGITS)))
        change = largest_logit_change(self.network, arm.network, images)
        return _Round(arm=arm, logit_change=change, begin_s=time.perf_counter() - started)

    def _decide(self, this: _Round) -> GrowthStepDecided:
        """The verdict as an event; by its time the block is part of the network, or is gone."""
        started = time.perf_counter()
        before, arm, error_before = self._current, this.arm, self._steps[-1].train_error
        assert before.validation is not None
        step, outputs = (None, None) if arm.diverged else self._weigh(arm)
        kept = step is not None and self._is_weak_learner(step)
        if step is not None and kept:
            self._current, self._outputs = arm, outputs
            self._steps.append(step)
            self._kept_outputs[f"train-{len(self._history) + 1:04d}"] = arm.outputs("train")
        self._candidate = None
        cost = arm.cost + Cost(wall_s=this.begin_s + time.perf_counter() - started)
        decided = GrowthStepDecided(
            step=len(self._history) + 1,
            round=len(self._history) + 1,
            stage=len(arm.architecture["blocks"]) - 1,
            block=arm.architecture["blocks"][-1] - 1,
            initialiser="kaiming",
            train_error_before=error_before,
            train_error_candidate=None if step is None else step.train_error,
            val_error_before=before.validation.error,
            val_error_candidate=None if arm.diverged or arm.validation is None else arm.validation.error,
            val_error_control=None,
            p_value=None,
            verdict="accepted" if kept else "rejected",
            reason=f"the block diverged. {arm.diverged}" if step is None else self._figures_in_words(step),
            num_params_before=before.num_params,
            num_params_after=arm.num_params,
            epochs=cost.epochs,
            train_flops=cost.train_flops,
            wall_s=cost.wall_s,
            max_logit_change=this.logit_change,
        )
        self._history.append(decided)
        return decided

    def _weigh(self, arm: ArmTraining) -> tuple[BoostingStep, NDArray[np.float32]]:
        """The boosting figures of the network with the new block, and its softmax on the training images."""
        outputs, labels = self._outputs_of(arm)
        if self._outputs is None:  # after a resume
            self._outputs, _ = self._outputs_of(self._current)
        before = Hypothesis(step=self._steps[-1], probabilities=self._outputs)
        return next_step(labels, outputs, before, gamma_threshold=self._config.min_gamma or 0.0), outputs

    def _outputs_of(self, arm: ArmTraining) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        batches = self._context.data.eval_batches("train")
        outputs, labels = probabilities(arm.network, batches, precision=self._context.precision)
        return outputs.numpy(), labels.numpy()

    def _is_weak_learner(self, step: BoostingStep) -> bool:
        """By gamma alone, as the paper's algorithm asks; its definition's covariance is told, and decides nothing."""
        least = self._config.min_gamma
        return least is None or (step.edge > 0 and step.gamma > least)

    def _figures_in_words(self, step: BoostingStep) -> str:
        least = self._config.min_gamma
        sign = "" if least is None else f" {'>' if step.gamma > least else '<='} {least:g}"
        before = f"{self._steps[step.step - 1].edge:.4f} -> " if step.step else ""
        holds = "holds" if step.covariance <= 0 else "does not hold"
        return (
            f"gamma {step.gamma:.4f}{sign}: edge {before}{step.edge:.4f}; "
            f"the covariance condition {holds} ({step.covariance:.3g})"
        )

    def _arm(self, number: int, alpha: float) -> ArmTraining:
        """The network of so many blocks, all of them fresh, whose newest is to be trained at this alpha."""
        blocks = first_blocks(self._whole["blocks"], number)
        architecture = {**self._whole, "blocks": blocks, "widths": self._whole["widths"][: len(blocks)]}
        return ArmTraining(
            self._context,
            self._context.build(architecture, "block", number),
            architecture=architecture,
            epochs=self._config.epochs_per_block,
            growth_step=number - 1,
            arm="network" if number == 1 else "candidate",
            first_data_epoch=(number - 1) * self._config.epochs_per_block,
            select=train_newest_block,
            lowers=ModuleLoss(alpha),
        )

    def _begin_refinement(self) -> ArmTraining:
        """A copy of the network that was kept, all of which learns; its epochs stand after every block's."""
        rounds = 1 + len(self._history)
        arm = ArmTraining(
            self._context,
            self._context.build(self._current.architecture),
            architecture=self._current.architecture,
            epochs=self._config.refine_epochs,
            growth_step=rounds,
            first_data_epoch=rounds * self._config.epochs_per_block,
        )
        arm.network.load_state_dict(self.network.state_dict())
        return arm

    def state_dict(self) -> dict[str, Any]:
        """All that the rest depends on, at any event."""
        return {
            "current": self._current.state_dict(),
            "candidate": None if self._candidate is None else self._candidate.state_dict(),
            "refinement": None if self._refinement is None else self._refinement.state_dict(),
            "steps": [dataclasses.asdict(step) for step in self._steps],
            "history": [dataclasses.asdict(step) for step in self._history],
            "first_cost": dataclasses.asdict(self._first_cost),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`."""
        self._steps = [BoostingStep(**step) for step in state["steps"]]
        self._history = [GrowthStepDecided(**step) for step in state["history"]]
        self._first_cost = Cost(**state["first_cost"])
        self._outputs = None
        self._current = self._load_arm(state["current"])
        self._candidate = None
        if state["candidate"] is not None:
            arm = self._load_arm(state["candidate"]["arm"])
            self._candidate = _Round(**{**state["candidate"], "arm": arm})
        self._refinement = None
        if state["refinement"] is not None:
            self._refinement = self._begin_refinement()
            self._refinement.load_state_dict(state["refinement"])

    def _load_arm(self, state: dict[str, Any]) -> ArmTraining:
        number = sum(state["architecture"]["blocks"])
        alpha = self._steps[number - 2].alpha if number > 1 else 0.0
        arm = self._arm(number, max(alpha, _LEAST_ALPHA_IN_TRAINING))
        arm.load_state_dict(state)
        return arm

    def network_state(self) -> dict[str, Any]:
        """The network that a person would use, as decided so far: its `architecture` and its `weights`."""
        return (self._refinement or self._current).network_state()
