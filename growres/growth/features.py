"""A frozen trunk's features, computed once: what the new block trains on while it learns alone.

Everything before the new block is frozen and in evaluation mode then, so that it makes the same of an image in every
epoch. Without augmentation the cached training is the uncached one; with it, a number of augmented copies of the images
stands for the endless many, used in turn, which is what the configuration has to ask for.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from growres.data.batches import DeviceData, SplitName
from growres.growth.network import block_at, blocks_of, growing_network
from growres.growth.placement import Proposal
from growres.seeding import stream_seed
from growres.training.arm import View
from growres.training.context import TrainingContext
from growres.training.flops import forward_flops_per_image
from growres.training.precision import Precision
from zoo.resnet import ResNet

# Dimension key: N images, B images of a batch, C channels, H and W the size of the map before the new block.

_MOST_BYTES_ON_CPU = 4 * 1024**3


class Suffix(nn.Module):
    """The new block and what follows it, of a network that it shares its modules, their modes and weights with."""

    def __init__(self, network: ResNet, proposal: Proposal) -> None:
        super().__init__()
        self.block = block_at(network, proposal.stage, proposal.block)
        self.stages = nn.ModuleList(network.stages[proposal.stage + 1 :])
        self.head = network.head

    def forward(self, features_NCHW: Tensor) -> Tensor:
        """Logits (N, K) of the map before the new block."""
        x_NCHW = self.block(features_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        return cast(Tensor, self.head(x_NCHW))


class Prefix(nn.Module):
    """What comes before the new block, frozen."""

    def __init__(self, network: ResNet, proposal: Proposal) -> None:
        super().__init__()
        self.stem = network.stem
        self.stages = nn.ModuleList(network.stages[: proposal.stage])
        self.blocks = nn.ModuleList(list(blocks_of(network, proposal.stage))[: proposal.block])

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """The map before the new block."""
        x_NCHW = self.stem(images_NCHW)
        for module in itertools.chain(self.stages, self.blocks):
            x_NCHW = module(x_NCHW)
        return cast(Tensor, x_NCHW)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureData:
    """Cached maps in the place of images: batches of the same order as DeviceData would give."""

    train_copies: list[Tensor]
    """Each (N, C, H, W), in the split's own order."""
    train_labels: Tensor
    validation: tuple[Tensor, Tensor]
    """Maps and labels."""
    first_epoch: int
    """The epoch whose augmentation the first copy has."""
    batch_size: int
    steps_per_epoch: int

    @property
    def num_train(self) -> int:
        return len(self.train_labels)

    def train_batches(self, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training maps in the order of this epoch; the copies are used in turn."""
        generator = torch.Generator().manual_seed(stream_seed("batches", seed, epoch))
        order = torch.randperm(self.num_train, generator=generator).to(self.train_labels.device)
        maps = self.train_copies[(epoch - self.first_epoch) % len(self.train_copies)]
        for step in range(self.steps_per_epoch):
            rows = order[step * self.batch_size : (step + 1) * self.batch_size]
            yield maps.index_select(0, rows), self.train_labels.index_select(0, rows)

    def eval_batches(self, split: SplitName, batch_size: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
        """The validation maps in their order."""
        assert split == "validation", "a block that learns alone is looked at on the validation split"
        maps, labels = self.validation
        for start in range(0, len(labels), batch_size):
            yield maps[start : start + batch_size], labels[start : start + batch_size]


class CachedTrunk:
    """Trains the new block on cached features for as long as it learns alone; an arm's stand-in.

    Args:
        epochs: in which the new block alone learns.
        num_copies: of the augmented training images.
        first_data_epoch: the arm's.
    """

    def __init__(
        self, context: TrainingContext, proposal: Proposal, *, epochs: int, num_copies: int, first_data_epoch: int
    ) -> None:
        self._context = context
        self._proposal = proposal
        self._epochs = epochs
        self._num_copies = num_copies
        self._first_data_epoch = first_data_epoch
        self._cached: TrainingContext | None = None

    def of(self, network: nn.Module, epoch: int) -> View | None:
        """The suffix with the cached maps; None when everything learns. The first epoch pays for the features."""
        if epoch > self._epochs:
            self.release()
            return None
        grown = growing_network(network)
        if self._cached is None:
            self._cached = self._compute(grown)
        num_passes = self._num_copies * self._context.data.num_train
        flops = num_passes * self._prefix_flops_per_image(grown) if epoch == 1 else 0
        return View(network=Suffix(grown, self._proposal), context=self._cached, extra_flops=flops)

    def release(self) -> None:
        """Lets the maps go, which are computed anew should they be wanted again."""
        self._cached = None

    def fits(self, network: ResNet) -> bool:
        """Whether the maps take less than half of the device's free memory (on a CPU, less than 4 GiB)."""
        with torch.inference_mode(), self._context.precision.autocast():
            image = torch.zeros(1, *self._context.image_shape, device=self._context.device)
            one = Prefix(copy.deepcopy(network).eval(), self._proposal)(image)
        num_bytes = one.nbytes * self._context.data.num_train * (self._num_copies + 1)
        if self._context.device.type == "cuda":
            free_bytes, _ = torch.cuda.mem_get_info(self._context.device)
            return bool(num_bytes < free_bytes // 2)
        return bool(num_bytes < _MOST_BYTES_ON_CPU)

    def _compute(self, network: ResNet) -> TrainingContext:
        data, precision = self._context.data, self._context.precision
        prefix = Prefix(network, self._proposal)
        epochs = range(self._first_data_epoch, self._first_data_epoch + self._num_copies)
        copies = [_maps(prefix, data.augmented_in_order(self._context.seed, epoch), precision) for epoch in epochs]
        validation = _maps(prefix, data.eval_batches("validation"), precision)
        cached = FeatureData(
            train_copies=[maps for maps, _ in copies],
            train_labels=copies[0][1],
            validation=validation,
            first_epoch=self._first_data_epoch,
            batch_size=self._context.config.batch_size,
            steps_per_epoch=data.steps_per_epoch,
        )
        channels, height, width = validation[0].shape[1:]
        return replace(self._context, data=cast(DeviceData, cached), image_shape=(channels, height, width))

    def _prefix_flops_per_image(self, network: ResNet) -> int:
        architecture = {"before": [self._proposal.stage, self._proposal.block], **network.architecture}
        return forward_flops_per_image(Prefix(network, self._proposal), architecture, self._context.image_shape)


@torch.no_grad()
def _maps(prefix: Prefix, batches: Iterator[tuple[Tensor, Tensor]], precision: Precision) -> tuple[Tensor, Tensor]:
    """What the prefix makes of all images, and their labels."""
    maps, labels_of = [], []
    for images, labels in batches:
        with precision.autocast():
            maps.append(prefix(images))
        labels_of.append(labels)
    return torch.cat(maps), torch.cat(labels_of)
