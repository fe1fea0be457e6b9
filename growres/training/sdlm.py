"""Stochastic diagonal Levenberg-Marquardt, with which LeNet-5 was trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

_GRADIENTS_AT_ONCE = 10_000_000
"""Numbers: as many images as this many gradients make are looked at together."""


class StochasticDiagonalLM(torch.optim.Optimizer):
    """A step for each weight that is shorter where the loss is curved: w -= lr * gradient / (mu + curvature).

    The curvature of a weight is its entry on the diagonal of the Gauss-Newton matrix, the mean over a few training
    images; it is never negative, and without an estimate it is zero.

    Source: LeCun et al. 1998, appendix C. There the second derivatives are carried back through the layers, leaving out
    what is off the diagonal in each; here they are the squared gradients of single images, for labels drawn from the
    network's own answers, whose expectation is the diagonal exactly.
    """

    def __init__(self, params: Iterable[nn.Parameter], *, lr: float, mu: float) -> None:
        super().__init__(params, {"lr": lr, "mu": mu})

    @torch.no_grad()
    def estimate_curvature(self, network: nn.Module, images_NCHW: Tensor, generator: torch.Generator) -> None:
        """Sets the curvature of every weight from these images, in evaluation mode; the network's mode is put back.

        Args:
            network: the one whose parameters this optimiser has.
            generator: on the CPU, for the labels that are drawn.
        """
        training = {module for module in network.modules() if module.training}
        network.eval()
        weights = {name: weight.detach() for name, weight in network.named_parameters()}
        labels = _drawn_labels(network(images_NCHW), generator)
        gradient = vmap(grad(_loss_of_one, argnums=1), in_dims=(None, None, 0, 0))
        at_once = max(1, _GRADIENTS_AT_ONCE // sum(weight.numel() for weight in weights.values()))
        squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for images, drawn in zip(torch.split(images_NCHW, at_once), torch.split(labels, at_once), strict=True):
            for name, gradients in gradient(network, weights, images, drawn).items():
                squares[name] += gradients.square().sum(dim=0)
        for name, weight in network.named_parameters():
            self.state[weight]["curvature"] = squares[name] / len(images_NCHW)
        for module in training:
            module.training = True

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every weight that has a gradient."""
        assert closure is None, "there is no line search here"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    curvature = self.state[weight].get("curvature", torch.zeros_like(weight))
                    weight.addcdiv_(weight.grad, curvature + group["mu"], value=-group["lr"])


def _loss_of_one(network: nn.Module, weights: dict[str, Tensor], image_CHW: Tensor, label: Tensor) -> Tensor:
    logits_NK = functional_call(network, weights, (image_CHW.unsqueeze(0),))
    return F.cross_entropy(logits_NK, label.unsqueeze(0))


def _drawn_labels(logits_NK: Tensor, generator: torch.Generator) -> Tensor:
    probabilities = logits_NK.float().softmax(dim=1).cpu()
    return torch.multinomial(probabilities, 1, generator=generator).flatten().to(logits_NK.device)
