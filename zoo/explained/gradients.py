"""What happens to gradients on their way to the image, measured in networks as they begin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.feature_maps import features

NUM_IMAGES = 16
NOISE = 0.01
"""The step, relative to the image, over which two gradients are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientsAtStart:
    """Of a network in training mode, before its first update."""

    coherence: float
    """The cosine between the gradients at an image and at the image plus 1 % noise, the mean over images: 1 means that
    a step along the gradient can be trusted, 0 that the next image's gradient has nothing to do with it."""
    amplification: float
    """How much larger the gradient is after the stem than before the head; 1 is what an identity path gives."""


def gradients_at_start(network: nn.Module, images_NCHW: Tensor, num_classes: int) -> GradientsAtStart:
    """Coherence and amplification for these images and arbitrary labels."""
    labels = torch.arange(len(images_NCHW)) % num_classes
    step = NOISE * torch.randn(images_NCHW.shape, generator=torch.Generator().manual_seed(1))
    here, amplification = _gradient(network, images_NCHW, labels)
    there, _ = _gradient(network, images_NCHW + step, labels)
    cosines = F.cosine_similarity(here.flatten(start_dim=1), there.flatten(start_dim=1), dim=1)
    return GradientsAtStart(coherence=float(cosines.mean()), amplification=amplification)


def _gradient(network: nn.Module, images_NCHW: Tensor, labels: Tensor) -> tuple[Tensor, float]:
    """The gradient at the images, and the ratio of its norms after the stem and before the head."""
    network.train()
    images_NCHW = images_NCHW.clone().requires_grad_(True)
    logits: list[Tensor] = []
    hook = network.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    maps = list(features(network, images_NCHW).values())
    hook.remove()
    loss = F.cross_entropy(logits[0], labels)
    at_images, after_stem, before_head = torch.autograd.grad(loss, [images_NCHW, maps[0], maps[-1]])
    arriving = float(before_head.norm())
    return at_images, float(after_stem.norm()) / arriving if arriving > 0 else 0.0  # of nothing, nothing arrives


def random_images(in_channels: int, image_size: int, num_images: int = NUM_IMAGES) -> Tensor:
    """Images of noise, mean 0 and deviation 1, always the same ones."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num_images, in_channels, image_size, image_size, generator=generator)
