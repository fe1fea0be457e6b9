"""Training FLOPs, counted by torch's own counter, once for each architecture."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from growres.training.loop import losses_of
from zoo.counting import copy_on_meta

_BATCH = 2  # the smallest that batch norm takes; what is counted is linear in it

_counted: dict[str, int] = {}


def train_flops_per_image(network: nn.Module, architecture: dict[str, Any], image_shape: tuple[int, int, int]) -> int:
    """FLOPs of one forward and backward pass for one (C, H, W) image; a multiply-add counts as two.

    Convolutions and matrix products are counted, as torch.utils.flop_counter does. Parameters that do not require a
    gradient now cost none: a frozen trunk is cheaper. The result is remembered by architecture, shape and what is
    frozen. The network is not run; the count happens on the meta device.
    """
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    num_weights = sum(parameter.numel() for parameter in network.parameters())  # tells numbers of classes apart
    key = json.dumps([architecture, image_shape, num_weights, frozen], sort_keys=True)
    if key not in _counted:
        _counted[key] = _count(network, image_shape)
    return _counted[key]


def forward_flops_per_image(module: nn.Module, architecture: dict[str, Any], image_shape: tuple[int, int, int]) -> int:
    """FLOPs of one forward pass, without a gradient, for one (C, H, W) image; remembered likewise."""
    num_weights = sum(parameter.numel() for parameter in module.parameters())
    key = json.dumps(["forward", architecture, image_shape, num_weights], sort_keys=True)
    if key not in _counted:
        twin = copy_on_meta(module).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            twin(torch.empty(1, *image_shape, device="meta"))
        _counted[key] = int(counter.get_total_flops())
    return _counted[key]


def _count(network: nn.Module, image_shape: tuple[int, int, int]) -> int:
    twin = copy_on_meta(network).train()
    images = torch.empty(_BATCH, *image_shape, device="meta")
    labels = torch.empty(_BATCH, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        _, _, objective = losses_of(twin(images), labels)
        objective.backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops()) // _BATCH
