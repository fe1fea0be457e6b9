"""The method itself: one epoch of training, and evaluation. Sums stay on the device and are read once at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from growres.errors import NonFiniteLossError
from growres.training.precision import Precision
from zoo.auxiliary import WithAuxiliary

# Dimension key: N batch, K classes.
Batches = Iterable[tuple[Tensor, Tensor]]

Objective = Callable[[Tensor, Tensor], Tensor]
"""What training lowers in place of the cross-entropy, of logits (N, K) in float32 and labels (N,)."""

HOW_TO_CALM_DOWN = (
    "Lower training.optimizer.lr, lengthen training.schedule.warmup_epochs, or set training.clip_grad_norm."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Mean loss and error over `num_images` images."""

    loss: float
    error: float
    num_images: int


def train_epoch(
    network: nn.Module,
    batches: Batches,
    *,
    optimizer: torch.optim.Optimizer,
    lr_of_step: Callable[[int], float],
    first_step: int,
    num_steps: int,
    precision: Precision,
    label_smoothing: float = 0.0,
    clip_grad_norm: float | None = None,
    lowers: Objective | None = None,
) -> Measurement:
    """One pass over the batches, each a step of the optimiser.

    The caller has put the network into training mode (a frozen part may stay in evaluation mode).

    Args:
        lr_of_step: the learning rate of a step, counted over the whole run; this epoch begins at `first_step`.
        num_steps: at least the number of batches.
        lowers: None for the cross-entropy, with the network's own auxiliary losses. The loss that is returned is the
            cross-entropy in any case, so that it can be held against the validation loss.
    Returns:
        The losses and errors of the batches as they were trained on, before each update.
    Raises:
        NonFiniteLossError: after the epoch, if a loss was NaN or infinite; it names the first such step and its
            learning rate. Looking earlier would make every step wait for the device.
    """
    device = next(network.parameters()).device
    losses = torch.zeros(num_steps, device=device)
    num_wrong = torch.zeros((), dtype=torch.int64, device=device)
    sizes: list[int] = []
    for index, (images, labels) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr_of_step(first_step + index) * group.get("lr_factor", 1.0)
        with precision.autocast():
            output = network(images)
        logits_NK, loss, objective = losses_of(output, labels, label_smoothing=label_smoothing)
        if lowers is not None:
            objective = lowers(logits_NK.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        objective.backward()  # type: ignore[no-untyped-call]
        if clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip_grad_norm)
        optimizer.step()
        losses[index] = loss.detach()
        num_wrong += (logits_NK.detach().argmax(dim=1) != labels).sum()
        sizes.append(len(labels))
    return _measure(losses[: len(sizes)].tolist(), sizes, int(num_wrong), lr_of_step, first_step)


def losses_of(
    output: Tensor | WithAuxiliary, labels: Tensor, *, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The logits (N, K) of a network in training, their loss, and what training lowers.

    The two losses are one, unless the network has auxiliary classifiers: these add to what is lowered, and are no part
    of the loss that is reported, so that it can be held against the validation loss.
    """
    if isinstance(output, Tensor):
        loss = F.cross_entropy(output.float(), labels, label_smoothing=label_smoothing)
        return output, loss, loss
    loss, *auxiliary = (
        F.cross_entropy(logits_NK.float(), labels, label_smoothing=label_smoothing)
        for logits_NK in (output.logits, *output.auxiliary)
    )
    return output.logits, loss, loss + output.weight * torch.stack(auxiliary).sum()


def _measure(
    losses: list[float], sizes: list[int], num_wrong: int, lr_of_step: Callable[[int], float], first_step: int
) -> Measurement:
    for index, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"The training loss became {loss} at step {first_step + index + 1}, where the learning rate was "
                f"{lr_of_step(first_step + index):.4g}. {HOW_TO_CALM_DOWN}"
            )
    num_images = sum(sizes)
    mean_loss = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / num_images
    return Measurement(loss=mean_loss, error=num_wrong / num_images, num_images=num_images)


@torch.inference_mode()
def evaluate(network: nn.Module, batches: Batches, *, precision: Precision) -> Measurement:
    """Mean cross-entropy and error over the batches in evaluation mode; the network's modes are put back after."""
    training_modules = [module for module in network.modules() if module.training]
    network.eval()
    device = next(network.parameters()).device
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    num_wrong = torch.zeros((), dtype=torch.int64, device=device)
    num_images = 0
    for images, labels in batches:
        with precision.autocast():
            logits_NK = network(images)
        loss_sum += F.cross_entropy(logits_NK.float(), labels, reduction="sum")
        num_wrong += (logits_NK.argmax(dim=1) != labels).sum()
        num_images += len(labels)
    for module in training_modules:
        module.training = True
    return Measurement(loss=float(loss_sum) / num_images, error=int(num_wrong) / num_images, num_images=num_images)


@torch.inference_mode()
def probabilities(network: nn.Module, batches: Batches, *, precision: Precision) -> tuple[Tensor, Tensor]:
    """The softmax of every image in evaluation mode, float32 (N, K), and the labels (N,), both on the CPU.

    In the order of the batches; the network's modes are put back after.
    """
    training_modules = [module for module in network.modules() if module.training]
    network.eval()
    outputs: list[Tensor] = []
    labels_seen: list[Tensor] = []
    for images, labels in batches:
        with precision.autocast():
            logits_NK = network(images)
        outputs.append(logits_NK.float().softmax(dim=1))
        labels_seen.append(labels)
    for module in training_modules:
        module.training = True
    return torch.cat(outputs).cpu(), torch.cat(labels_seen).cpu()
