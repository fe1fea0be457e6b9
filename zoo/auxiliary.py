"""What a network with auxiliary classifiers gives in training, and how to leave those out of its size."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class AuxiliaryClassifier(nn.Module):
    """A classifier on a map in the middle of a network. It serves training only: evaluation never runs it."""


class WithAuxiliary(NamedTuple):
    """The logits of a network in training mode, with those of its auxiliary classifiers.

    The loss is that of `logits` plus `weight` times that of each of the others (Szegedy et al. 2014, section 5).
    """

    logits: Tensor
    auxiliary: tuple[Tensor, ...]
    weight: float


def num_params(network: nn.Module) -> int:
    """Trainable parameters of the network that is kept: auxiliary classifiers are gone when training is over."""
    serving = {
        parameter
        for module in network.modules()
        if isinstance(module, AuxiliaryClassifier)
        for parameter in module.parameters()
    }
    return sum(parameter.numel() for parameter in network.parameters() if parameter not in serving)
