"""The networks of the zoo by name, one family a file, and none of them needs torch to be named."""

from __future__ import annotations

from zoo.catalogue import alexnet, densenet, googlenet, inception, lenet, resnet, vgg
from zoo.entry import ModelEntry

PUBLISHED: tuple[ModelEntry, ...] = (
    *lenet.ENTRIES,
    *alexnet.ENTRIES,
    *vgg.ENTRIES,
    *googlenet.ENTRIES,
    *inception.ENTRIES,
    *resnet.ENTRIES,
    *densenet.ENTRIES,
)
"""Every listed network, in the order of their years."""
