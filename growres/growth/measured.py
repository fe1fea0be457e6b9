"""An arm with what its network says of whole splits, measured when first asked for, and once."""

from __future__ import annotations

from functools import cached_property

from growres.growth.network import growing_network
from growres.training.arm import ArmTraining
from growres.training.outputs import ImageOutputs
from zoo.resnet import ResNet


class Measured:
    """An arm whose training is over, or will be before it is asked what it says."""

    def __init__(self, arm: ArmTraining) -> None:
        self.arm = arm

    @property
    def network(self) -> ResNet:
        return growing_network(self.arm.network)

    @cached_property
    def train(self) -> ImageOutputs:
        """Of the training split, without augmentation."""
        return self.arm.outputs("train")

    @cached_property
    def validation(self) -> ImageOutputs:
        """Of the validation split."""
        return self.arm.outputs("validation")
