"""What each network brought and why that works, every claim beside a figure computed there and then.

One file a family; `explain` is the way in.
"""

from __future__ import annotations

from zoo.explained import alexnet, densenet, googlenet, inception, lenet, residual, vgg
from zoo.explained.claims import Claim, Explain, Subject, subject_of

__all__ = ["Claim", "Subject", "explain", "subject_of"]

_BY_FACTORY: dict[str, Explain] = {
    "zoo.lenet:LeNet5": lenet.claims,
    "zoo.alexnet:alexnet": alexnet.claims,
    "zoo.alexnet:alexnet_torchvision": alexnet.claims,
    "zoo.vgg:VGG": vgg.claims,
    "zoo.googlenet:googlenet": googlenet.claims,
    "zoo.googlenet:googlenet_torchvision": googlenet.claims,
    "zoo.inception_v2:inception_v2": inception.claims_of_v2,
    "zoo.inception_v3:inception_v3": inception.claims_of_v3,
    "zoo.inception_v4:inception_v4": inception.claims_of_v4,
    "zoo.resnet:resnet": residual.claims_of_resnet,
    "zoo.resnet:preact_resnet": residual.claims_of_preact,
    "zoo.resnet:plain": residual.claims_of_plain,
    "zoo.densenet:DenseNet": densenet.claims,
}


def explain(subject: Subject) -> tuple[Claim, ...]:
    """The claims about a network, their figures computed for the subject's images and classes.

    It takes seconds: networks are made, and some run forward and backward. torch's global generator is left as it was.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        return _BY_FACTORY[subject.entry.factory](subject)
