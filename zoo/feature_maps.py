"""The maps inside a network, by the names that its paper has for its stages."""

from __future__ import annotations

from torch import Tensor, nn


def features(model: nn.Module, images_NCHW: Tensor) -> dict[str, Tensor]:
    """The maps after each stage, in the order of the stages, from one forward pass in the mode that the model is in.

    The names are the network's: `c1` and `s2` for LeNet-5, `conv1` and `pool1` for AlexNet, `stage1` for VGG,
    `inception_4a` for GoogLeNet, `stem` and `stage0` for residual networks, `block1` and `transition1` for DenseNet.

    Returns:
        Tensors (N, C, H, W), on the model's device, through which gradients flow unless they are switched off. LeNet's
        `f6` is (N, 84).
    Raises:
        TypeError: if the model is none of the zoo's.
    """
    if not hasattr(model, "feature_modules"):
        raise TypeError(f"a {type(model).__name__} is no network of the zoo, and its stages have no names")
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        maps[name] = output

    modules: dict[str, nn.Module] = model.feature_modules  # type: ignore[assignment]  # nn.Module types any attribute so
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
        for name, module in modules.items()
    ]
    try:
        model(images_NCHW)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: maps[name] for name in modules}
