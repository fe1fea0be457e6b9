"""What a network costs, counted and not measured: parameters, multiply-adds, connections, depth.

Conventions:
    parameters   trainable scalars; running statistics and fixed codes are not among them
    MACs         multiplications by weights of convolutions and linear layers, for one image; biases, norms, pooling
                 and activations are left out. What the ResNet papers call FLOPs.
    connections  what LeCun et al. 1998 count: each output's inputs, its bias being one
    depth        layers that hold weights on the longest path from image to logits; norms are not layers here

A layer with a rule of its own (LeNet's) offers it as a `CountedLayer`. The network runs once on the meta device, where
tensors have shapes and no values: it costs milliseconds and no memory, whatever the size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


@runtime_checkable
class CountedLayer(Protocol):
    """A layer that knows its own counts, for one image and an output of the given shape without the batch."""

    def count_connections(self, output_shape: Sequence[int]) -> int: ...

    def count_macs(self, output_shape: Sequence[int]) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCounts:
    """One layer that holds weights, in the order in which it runs; the shape is the output's, without the batch."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    num_params: int
    connections: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A whole network's counts, for one image."""

    num_params: int
    macs: int
    connections: int
    depth: int
    layers: tuple[LayerCounts, ...]


def count(model: nn.Module, input_shape: Sequence[int]) -> Counts:
    """The counts of the network in eval mode for images of the shape (C, H, W). The model is left as it is."""
    on_meta = _copy_on_meta(model)
    trace = _Trace()
    for name, layer in on_meta.named_modules():
        if _holds_weights(layer):
            layer.register_forward_hook(trace.recorder(name))
    with torch.no_grad(), trace:
        logits = on_meta(torch.empty(1, *input_shape, device="meta"))
    return Counts(
        num_params=sum(parameter.numel() for parameter in model.parameters()),
        macs=sum(layer.macs for layer in trace.layers),
        connections=sum(layer.connections for layer in trace.layers),
        depth=trace.depth_of([logits]),
        layers=tuple(trace.layers),
    )


def _holds_weights(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.Linear | CountedLayer)


def _copy_on_meta(model: nn.Module) -> nn.Module:
    # deepcopy takes what its memo holds for a copy, so that no weight is ever duplicated in memory.
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    memo |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, memo).eval()


class _Trace(TorchFunctionMode):
    """Watches one forward pass: every result is as deep as its deepest argument, and a layer with weights adds one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[LayerCounts] = []
        self._depths: MutableMapping[Tensor, int] = WeakTensorKeyDictionary()

    def depth_of(self, values: Iterable[Any]) -> int:
        return max((self._depths.get(tensor, 0) for tensor in _tensors(values)), default=0)

    def recorder(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        """A forward hook that counts the layer of this name."""

        def record(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self._depths[output] = self.depth_of(inputs) + 1
            self.layers.append(_count_layer(name, layer, tuple(output.shape[1:])))

        return record

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        arguments = kwargs or {}
        depth = self.depth_of([*args, *arguments.values()])
        result = func(*args, **arguments)
        for tensor in _tensors([result]):
            self._depths[tensor] = depth
        return result


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _count_layer(name: str, layer: nn.Module, output_shape: tuple[int, ...]) -> LayerCounts:
    if isinstance(layer, CountedLayer):
        macs, connections = layer.count_macs(output_shape), layer.count_connections(output_shape)
    else:
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        outputs = torch.Size(output_shape).numel()
        macs = layer.weight[0].numel() * outputs
        connections = macs + (outputs if layer.bias is not None else 0)
    return LayerCounts(
        name=name,
        kind=type(layer).__name__,
        output_shape=output_shape,
        num_params=sum(parameter.numel() for parameter in layer.parameters()),
        connections=connections,
        macs=macs,
    )
