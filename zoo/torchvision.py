"""torchvision's weights in the zoo's networks: the same tensors under torchvision's names.

torchvision itself is not needed, and nothing is downloaded: the weights are a file, or a state dict that is at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from zoo import alexnet, googlenet
from zoo.densenet import DenseBlock, DenseNet
from zoo.entry import ModelError
from zoo.inception_v3 import InceptionV3
from zoo.resnet import BlockDesign, ResNet
from zoo.vgg import VGG

_SHOWN = 3
"""How many keys of each kind a message names."""

Rename = Callable[[str], str]
"""A name of ours in torchvision's words."""


def load_torchvision(model: nn.Module, path_or_state_dict: str | Path | Mapping[str, Tensor]) -> None:
    """Puts torchvision's weights into the zoo's network of the same shape.

    There are such weights for alexnet_torchvision, vgg, googlenet_torchvision, inception_v3, resnet and densenet.

    Every weight of the network must be there, and no other may be, but for auxiliary classifiers that the network was
    made without. Names of DenseNet's layers as old files have them (`norm.1`) are understood. torchvision's weights of
    GoogLeNet and Inception v3 come from TensorFlow and want pixels brought to [-1, 1], by a mean and a deviation of 0.5
    in each channel; the other networks want pixels normalised by ImageNet's mean and deviation.

    Args:
        path_or_state_dict: a file that torch.save wrote, read as data and never as code, or a state dict.
    Raises:
        ModelError: torchvision has no such network, the file cannot be read, or the keys or shapes differ; the message
            names the first that do.
    """
    rename = _naming(model)
    given = _current_names(_read(path_or_state_dict))
    expected = {rename(name): name for name in model.state_dict()}
    if not any("aux" in name.lower() for name in expected):
        given = {name: tensor for name, tensor in given.items() if not name.startswith(("aux", "AuxLogits"))}
    _compare(model, expected, given)
    # Old files have no num_batches_tracked. A plain dict carries no version either, and so PyTorch starts them at zero.
    model.load_state_dict({expected[name]: tensor for name, tensor in given.items()})


def _read(path_or_state_dict: str | Path | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    if isinstance(path_or_state_dict, Mapping):
        return _checked(path_or_state_dict, "the mapping")
    try:
        content = torch.load(path_or_state_dict, map_location="cpu", weights_only=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelError(f"Cannot read weights from {path_or_state_dict}: {reason}") from error
    except Exception as error:  # a zip, a pickle or a file that is none of them fails in a way of its own each
        raise ModelError(
            f"Cannot read weights from {path_or_state_dict}: it is no PyTorch weights file. Name one that torch.save "
            f"wrote of a state dict; a file that holds anything but tensors is never run."
        ) from error
    return _checked(content, str(path_or_state_dict))


def _checked(content: object, where: str) -> Mapping[str, Tensor]:
    if not isinstance(content, Mapping):
        raise ModelError(f"{where} holds a {type(content).__name__}; a state dict is needed")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ModelError(f"{where} is no state dict: it has {name!r} with a {type(value).__name__}, not a tensor")
    return content


def _current_names(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Files from before 2018 have a dot in the names of DenseNet's layers, `norm.1`, that no attribute can have."""
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): given[name] for name in given}


def _compare(model: nn.Module, expected: Mapping[str, str], given: Mapping[str, Tensor]) -> None:
    ours = model.state_dict()
    missing = [name for name in expected if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in expected]
    differing = [
        f"{name} is {tuple(given[name].shape)} there and {tuple(ours[own].shape)} here"
        for name, own in expected.items()
        if name in given and given[name].shape != ours[own].shape
    ]
    found = {"missing": missing, "not of this network": unexpected, "of another shape": differing}
    differences = [f"{what}: {_first(names)}" for what, names in found.items() if names]
    if differences:
        raise ModelError(
            f"Cannot load torchvision's weights into this {type(model).__name__}: {'; '.join(differences)}. "
            f"Make the network as torchvision does: its depth, num_classes=1000, in_channels=3, image_size=224 (299 "
            f"for inception_v3, where aux=False takes other sizes), and every other argument as it is by default."
        )


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


# ---------------------------------------------------------------------------------------------------------- naming


def _naming(model: nn.Module) -> Rename:
    match model:
        case alexnet.AlexNet(design=alexnet.TORCHVISION):
            return _by_rules(_ALEXNET)
        case VGG():
            return _by_rules(_vgg(model))
        case googlenet.GoogLeNet(design=googlenet.TORCHVISION):
            return _by_rules(_GOOGLENET)
        case InceptionV3():
            return _by_rules(_INCEPTION_V3)
        case ResNet(form="resnet") if tuple(map(len, _stages(model))) in _RESNETS:
            _check_design(model.design)
            return _by_rules(_RESNET)
        case DenseNet() if _layers_of_blocks(model) in _DENSENETS:
            return _by_rules(_DENSENET)
    raise ModelError(
        f"torchvision has no such network, and no weights for this {type(model).__name__}. It has them for "
        f"alexnet_torchvision, vgg11 to vgg19 with and without _bn, googlenet_torchvision, inception_v3, resnet18, "
        f"resnet34, resnet50, resnet101, resnet152, densenet121, densenet161, densenet169 and densenet201."
    )


_RESNETS = {(2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)}
"""Blocks in each stage."""
_DENSENETS = {(6, 12, 24, 16), (6, 12, 36, 24), (6, 12, 32, 32), (6, 12, 48, 32)}
"""Dense layers in each block."""


def _stages(model: ResNet) -> list[nn.Sequential]:
    return [stage for stage in model.stages if isinstance(stage, nn.Sequential)]


def _layers_of_blocks(model: DenseNet) -> tuple[int, ...]:
    return tuple(len(block.layers) for block in model.trunk if isinstance(block, DenseBlock))


def _check_design(design: BlockDesign) -> None:
    """Variants whose weights have the same names and shapes and are of another function are none of torchvision's."""
    own = {"h": design.h, "f": design.f, "shortcut": design.shortcut, "stride_in_1x1": design.stride_in_1x1}
    theirs = {"h": "identity", "f": "original", "shortcut": "option_b", "stride_in_1x1": False}
    for argument, value in own.items():
        if value != theirs[argument]:
            raise ModelError(
                f"torchvision's residual networks have {argument}: {theirs[argument]}, and this one has {value}: its "
                f"weights would compute something else. Make the network with {argument}={theirs[argument]!r}."
            )


Rules = Iterable[tuple[str, str | Callable[[re.Match[str]], str]]]


def _by_rules(rules: Rules) -> Rename:
    """Applies every rule, one after the other, wherever its pattern is found."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rename(name: str) -> str:
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        return name

    return rename


_ALEXNET: Rules = (
    *((rf"^conv{number}\.conv\.", f"features.{index}.") for number, index in ((1, 0), (2, 3), (3, 6), (4, 8), (5, 10))),
    (r"^fc6\.linear\.", "classifier.1."),
    (r"^fc7\.linear\.", "classifier.4."),
    (r"^fc8\.", "classifier.6."),
)


def _vgg(model: VGG) -> Rules:
    """torchvision numbers all layers of all stages through, relu and pooling included."""
    index = 0
    for stage_name, stage in model.feature_modules.items():
        for layer_name, _layer in stage.named_children():
            yield rf"^trunk\.{stage_name}\.{layer_name}\.", f"features.{index}."
            index += 1
    yield r"^classifier\.fc6\.", "classifier.0."
    yield r"^classifier\.fc7\.", "classifier.3."
    yield r"^classifier\.fc8\.", "classifier.6."


_GOOGLENET: Rules = (
    (r"\.norm\.", ".bn."),
    (r"^stem\.conv2\.", "conv3."),
    (r"^stem\.reduce\.", "conv2."),
    (r"^stem\.conv1\.", "conv1."),
    (r"^trunk\.inception_", "inception"),
    (r"\.one\.", ".branch1."),
    (r"\.three\.reduce\.", ".branch2.0."),
    (r"\.three\.conv\.", ".branch2.1."),
    (r"\.five\.reduce\.", ".branch3.0."),
    (r"\.five\.conv\.", ".branch3.1."),
    (r"\.pool\.project\.", ".branch4.1."),
    (r"^head\.classifier\.", "fc."),
)

_INCEPTION_V3: Rules = (
    (r"\.norm\.", ".bn."),
    (r"^stem\.conv3b\.", "Conv2d_3b_1x1."),
    (r"^stem\.conv(\w+)\.", r"Conv2d_\1_3x3."),
    (r"^(?:before|after)_auxiliary\.mixed_(\w+)\.branches\.", r"Mixed_\1."),
    (r"\.one\.", ".branch1x1."),
    (r"\.five\.(\d)\.", r".branch5x5_\1."),
    (r"^(Mixed_7a)\.seven\.(\d)\.", r"\1.branch7x7x3_\2."),
    (r"\.seven\.(\d)\.", r".branch7x7_\1."),
    (r"^(Mixed_6[b-e])\.deep\.(\d)\.", r"\1.branch7x7dbl_\2."),
    (r"\.deep\.3\.row\.", ".branch3x3dbl_3a."),
    (r"\.deep\.3\.column\.", ".branch3x3dbl_3b."),
    (r"\.deep\.(\d)\.", r".branch3x3dbl_\1."),
    (r"^(Mixed_6a)\.three\.", r"\1.branch3x3."),
    (r"\.three\.2\.row\.", ".branch3x3_2a."),
    (r"\.three\.2\.column\.", ".branch3x3_2b."),
    (r"\.three\.(\d)\.", r".branch3x3_\1."),
    (r"\.pool\.2\.", ".branch_pool."),
    (r"^aux\.", "AuxLogits."),
    (r"^head\.classifier\.", "fc."),
)

_RESNET: Rules = (
    (r"^stem\.conv\.", "conv1."),
    (r"^stem\.norm\.", "bn1."),
    (r"^stages\.(\d)\.", lambda found: f"layer{int(found[1]) + 1}."),
    (r"\.branch\.conv(\d)\.", r".conv\1."),
    (r"\.branch\.norm(\d)\.", r".bn\1."),
    (r"\.shortcut\.path\.conv\.", ".downsample.0."),
    (r"\.shortcut\.path\.norm\.", ".downsample.1."),
    (r"^head\.classifier\.", "fc."),
)

_DENSENET: Rules = (
    (r"^stem\.(conv|norm)\.", r"features.\g<1>0."),
    (r"^trunk\.block(\d)\.layers\.(\d+)\.layers\.", lambda found: _dense_layer(found[1], int(found[2]) + 1)),
    (r"^trunk\.transition(\d)\.", r"features.transition\1."),
    (r"^head\.norm\.", "features.norm5."),
    (r"^head\.classifier\.", "classifier."),
)


def _dense_layer(block: str, number: int) -> str:
    return f"features.denseblock{block}.denselayer{number}."
