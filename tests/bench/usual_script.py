"""One trial as the script that everybody writes: fp32, DataLoader, a PIL transform for each image, loss.item() at each
step, as many threads as PyTorch likes. Started by bench_defaults with the number of loader workers.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import zoo
from tests.bench.setups import BATCH_SIZE, MEAN, NUM_CLASSES, STD, random_images
from tests.bench.sparring import TrainFor, for_seconds, serve

_PADDING = 4


class PilImages(Dataset[tuple[Tensor, int]]):
    """Like torchvision's CIFAR10 with RandomCrop, RandomHorizontalFlip, ToTensor and Normalize."""

    def __init__(self, num_images: int) -> None:
        train = random_images(num_images).train
        self._images = train.images.permute(0, 2, 3, 1).contiguous().numpy()
        self._labels = train.labels.tolist()
        self._mean = torch.tensor(MEAN)[:, None, None]
        self._std = torch.tensor(STD)[:, None, None]

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self._images[index])
        size = image.width
        padded = ImageOps.expand(image, border=_PADDING)
        left, top = random.randint(0, 2 * _PADDING), random.randint(0, 2 * _PADDING)
        image = padded.crop((left, top, left + size, top + size))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return pixels.sub_(self._mean).div_(self._std), self._labels[index]


def make_trainer(num_images: int, num_workers: int) -> TrainFor:
    """The loader keeps its workers and goes on where it was, so that starting an epoch costs this side nothing."""
    loader = DataLoader(PilImages(num_images), batch_size=BATCH_SIZE, shuffle=True, num_workers=num_workers)
    network = zoo.create_model("resnet20", num_classes=NUM_CLASSES, in_channels=3, image_size=32).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    batches = _endless(loader)

    def train_for(seconds: float) -> int:
        trained_on, running_loss = 0, 0.0
        for images, labels in for_seconds(batches, seconds):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            trained_on += len(labels)
        return trained_on

    return train_for


def _endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


if __name__ == "__main__":
    serve(make_trainer(num_images=50_000, num_workers=int(sys.argv[1])))
