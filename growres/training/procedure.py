"""What a procedure is, and the plainest one: the whole network trained end to end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from growres.config.experiment import TrialConfig
from growres.events import ProcedureEvent, TrialFinished
from growres.training.arm import ArmTraining, Cost
from growres.training.context import TrainingContext
from growres.training.outputs import ImageOutputs


class Procedure(Protocol):
    """How a trial trains: a generator of events that can be left and taken up again at each of them."""

    def run(self) -> Iterator[ProcedureEvent]:
        """Yields what happened, a TrialFinished last. After `load_state_dict` it goes on from there."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that the rest depends on, valid whenever `run` has just yielded."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`; called before `run`."""
        ...

    def network_state(self) -> dict[str, Any]:
        """The network that a person would use, as decided so far: its `architecture` and its `weights`.

        Valid whenever `state_dict` is. Tensors that both hold are the same: saved together, they are saved once.
        """
        ...

    def take_outputs(self) -> dict[str, ImageOutputs]:
        """What was measured image by image since the last call, by name: 'test', 'validation', 'train-0003'.

        Asked for after each event, before `state_dict`; what it gave is not part of the state.
        """
        ...


class EndToEnd:
    """All weights trained together from the start, as every network of the zoo was by its authors."""

    def __init__(self, trial: TrialConfig, context: TrainingContext) -> None:
        assert trial.training.epochs is not None, "the configuration requires epochs of end_to_end"
        architecture = {"name": trial.model.name, **trial.model.kwargs}
        self._arm = ArmTraining(
            context, context.build(architecture), architecture=architecture, epochs=trial.training.epochs
        )
        self._outputs: dict[str, ImageOutputs] = {}

    def run(self) -> Iterator[ProcedureEvent]:
        """Yields an EpochFinished for each epoch, then the TrialFinished.

        Raises:
            NonFiniteLossError: if the loss diverges.
        """
        yield from self._arm.run()
        finished, self._outputs = finish(self._arm, self._arm.cost, reason=f"trained {self._arm.epochs_done} epochs")
        yield finished

    def state_dict(self) -> dict[str, Any]:
        """All that the rest depends on."""
        return {"arm": self._arm.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to the moment of `state_dict`."""
        self._arm.load_state_dict(state["arm"])

    def network_state(self) -> dict[str, Any]:
        """The network after its last epoch."""
        return self._arm.network_state()

    def take_outputs(self) -> dict[str, ImageOutputs]:
        """Those of the validation and the test split, when the trial is over."""
        taken, self._outputs = self._outputs, {}
        return taken


def finish(arm: ArmTraining, cost: Cost, *, reason: str) -> tuple[TrialFinished, dict[str, ImageOutputs]]:
    """The result of a trial whose final network is this arm's, and its outputs on the validation and the test split.

    Here, and only here, the test split is looked at.

    Args:
        cost: of the whole trial, what was rejected included.
    """
    assert arm.validation is not None, "a trial trains at least one epoch"
    outputs = {"validation": arm.outputs("validation"), "test": arm.outputs("test")}
    finished = TrialFinished(
        val_error=arm.validation.error,
        test_error=outputs["test"].measurement.error,
        num_params=arm.num_params,
        num_blocks=getattr(arm.network, "num_blocks", None),
        train_flops=cost.train_flops,
        epochs=cost.epochs,
        wall_s=cost.wall_s,
        reason=reason,
        architecture=arm.architecture,
    )
    return finished, outputs
