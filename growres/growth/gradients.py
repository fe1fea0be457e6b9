"""Where a network's loss would fall fastest: gradients over training images, without a step taken.

The network stays as it is: the gradients are those of a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from growres.growth.network import block_at
from growres.growth.placement import Proposal
from growres.training.context import TrainingContext
from growres.training.flops import train_flops_per_image
from zoo.resnet import ResNet


def stage_gradient_norms(
    network: ResNet, context: TrainingContext, *, data_epoch: int, num_images: int
) -> tuple[float, ...]:
    """The norm of the mean loss's gradient by all parameters of each stage, over the epoch's first images.

    In evaluation mode, so that the gradient is that of the network which was measured.
    """
    twin = _twin(network)
    num_seen = 0
    for images, labels in _first_batches(context, data_epoch, num_images):
        _loss_sum(twin, images, labels, context).backward()  # type: ignore[no-untyped-call]
        num_seen += len(images)
    squares = [
        sum(
            float(parameter.grad.double().pow(2).sum())
            for parameter in stage.parameters()
            if parameter.grad is not None
        )
        for stage in twin.stages
    ]
    return tuple(float(square) ** 0.5 / num_seen for square in squares)


def patches_by_gradient(
    network: ResNet, proposal: Proposal, context: TrainingContext, *, data_epoch: int, num_images: int
) -> Tensor:
    """What the last but one convolution of a branch sees, times what the loss wants at the branch's end.

    Summed over images and places. The branch must end in zeros, as that of a new block does, so that the gradient at
    its end is the gradient at the block's end. The network is in training mode, as it will be at the first step: in
    evaluation mode a new block's batch norms, which have no statistics yet, would let everything pass.

    Returns:
        (P, D): the P numbers of a patch as that convolution sees it, D channels of minus the gradient.
    """
    twin = _twin(network).train()
    block = block_at(twin, proposal.stage, proposal.block)
    conv = block.conv_before_last
    assert not isinstance(conv.padding, str)
    seen: dict[str, Tensor] = {}

    def keep(name: str, tensor: Tensor) -> None:
        seen[name] = tensor

    conv.register_forward_pre_hook(lambda _, inputs: keep("input", inputs[0].detach()))
    block.branch.register_forward_hook(lambda _, inputs, output: keep("end", output))
    sums = []
    for images, labels in _first_batches(context, data_epoch, num_images):
        loss = _loss_sum(twin, images, labels, context)
        (wanted_NDHW,) = torch.autograd.grad(loss, seen["end"])
        patches_NPL = F.unfold(
            seen["input"].float(), kernel_size=conv.kernel_size, padding=conv.padding, stride=conv.stride
        )
        sums.append(torch.einsum("npl,ndl->pd", patches_NPL, -wanted_NDHW.float().flatten(start_dim=2)))
    return torch.stack(sums).sum(dim=0)


def gradient_flops(network: ResNet, context: TrainingContext, *, num_images: int) -> int:
    """What looking at the gradients over so many training images, or all that there are, takes."""
    per_image = train_flops_per_image(_twin(network), network.architecture, context.image_shape)
    return per_image * min(num_images, context.data.num_train)


def _twin(network: ResNet) -> ResNet:
    return copy.deepcopy(network).eval().requires_grad_(True)


def _first_batches(context: TrainingContext, data_epoch: int, num_images: int) -> Iterator[tuple[Tensor, Tensor]]:
    left = num_images
    for images, labels in context.data.train_batches(context.seed, data_epoch):
        yield images[:left], labels[:left]
        left -= len(images)
        if left <= 1:  # batch norm takes no statistics from one image
            return


def _loss_sum(network: ResNet, images: Tensor, labels: Tensor, context: TrainingContext) -> Tensor:
    with context.precision.autocast():
        logits_NK = network(images)
    return F.cross_entropy(logits_NK.float(), labels, reduction="sum")
