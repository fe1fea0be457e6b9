"""Optimisers, and their state by parameter name, which is how it survives a growth step and a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from growres.config.experiment import AdamWConfig, OptimizerConfig, RmsPropConfig, SdlmConfig, SgdConfig
from growres.training.sdlm import StochasticDiagonalLM

OptimizerState = dict[str, dict[str, Tensor]]
"""For each parameter's name, the optimiser's tensors for it, such as `momentum_buffer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldParameters:
    """Parameters that learn more slowly than the others."""

    names: frozenset[str]
    lr_factor: float


def make_optimizer(
    network: nn.Module, config: OptimizerConfig, old: OldParameters | None = None
) -> torch.optim.Optimizer:
    """A fresh optimiser over all parameters of the network, those that are frozen for now included.

    Args:
        old: parameters that form a group of their own, whose key `lr_factor` the training loop multiplies into their
            learning rate.
    """
    weights = _groups(network, old)
    match config:
        case SgdConfig(lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay):
            sgd = torch.optim.SGD(weights, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, fused=True)
            return _with_momentum_buffers(sgd) if momentum else sgd
        case AdamWConfig(lr=lr, betas=betas, weight_decay=decay):
            return torch.optim.AdamW(weights, lr=lr, betas=betas, weight_decay=decay, fused=True)
        case RmsPropConfig(lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=decay):
            return torch.optim.RMSprop(
                weights, lr=lr, alpha=alpha, eps=eps, momentum=momentum, weight_decay=decay, foreach=True
            )
        case SdlmConfig(lr=lr, mu=mu):
            return StochasticDiagonalLM(weights, lr=lr, mu=mu)


def _with_momentum_buffers(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    # The fused kernel refuses a mixture of present and absent buffers, such as a new block's that learnt alone beside
    # those of the rest. Zero is what absent means: momentum * 0 + gradient is the first step's buffer.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
    return optimizer


def _groups(network: nn.Module, old: OldParameters | None) -> Any:
    """What torch's optimisers take: parameters, or groups of them."""
    if old is None:
        return network.parameters()
    named = list(network.named_parameters())
    return [
        {"params": [parameter for name, parameter in named if name not in old.names]},
        {"params": [parameter for name, parameter in named if name in old.names], "lr_factor": old.lr_factor},
    ]


def state_by_name(optimizer: torch.optim.Optimizer, network: nn.Module) -> OptimizerState:
    """The optimiser's tensors by parameter name; they are the optimiser's own, not copies."""
    return {
        name: {key: value.detach() for key, value in optimizer.state[parameter].items() if isinstance(value, Tensor)}
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
    }


def load_state_by_name(optimizer: torch.optim.Optimizer, network: nn.Module, state: OptimizerState) -> None:
    """Copies of the tensors put into a fresh optimiser for every parameter that `state` names; others start fresh.

    So does a parameter whose shape is no longer that of its tensors, as the classifier's after a new stage.
    """
    for name, parameter in network.named_parameters():
        tensors = state.get(name)
        if tensors is not None and all(value.shape in (parameter.shape, ()) for value in tensors.values()):
            optimizer.state[parameter] = {key: _copy_for(parameter, value) for key, value in tensors.items()}


def _copy_for(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """A copy of an optimiser's tensor, on the parameter's device and in its memory layout, but for a count of steps."""
    if value.shape == parameter.shape:
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    return value.detach().clone().to(parameter.device)
