"""What a network costs, counted and not measured: parameters, multiply-adds, connections, depth, receptive fields.

Conventions:
    parameters   trainable scalars; running statistics and fixed codes are not among them
    MACs         multiplications by weights of convolutions and linear layers, for one image; biases, norms, pooling
                 and activations are left out. What the ResNet papers call FLOPs.
    connections  what LeCun et al. 1998 count: each output's inputs, its bias being one; none for norms and for pooling
                 without weights
    depth        layers that hold weights on the longest path from image to logits; norms are not layers here
    shortest path
                 the same on the path with the fewest, which shortcuts and dense connections make short
    receptive field
                 the pixels of the image, high and wide, that one value of a layer's output can depend on, borders apart

A layer with a rule of its own (LeNet's) offers it as a `CountedLayer`. The network runs once on the meta device, where
tensors have shapes and no values: it costs milliseconds and no memory, whatever the size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from zoo.auxiliary import num_params
from zoo.response_norm import ResponseNorm


@runtime_checkable
class CountedLayer(Protocol):
    """A layer that knows its own counts, for one image and an output of the given shape without the batch."""

    @property
    def kind(self) -> str: ...

    @property
    def kernel_size(self) -> int: ...

    @property
    def stride(self) -> int: ...

    def count_connections(self, output_shape: Sequence[int]) -> int: ...

    def count_macs(self, output_shape: Sequence[int]) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCounts:
    """One layer, in the order in which it runs; the shape is the output's, without the batch."""

    name: str
    kind: str
    part: str
    """The stage of the network, by the name that `zoo.features` has for it, or `head` and the like."""
    output_shape: tuple[int, ...]
    num_params: int
    connections: int
    macs: int
    receptive_field: tuple[int, int]
    """Pixels, high and wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCounts:
    """A part of a network: the layers of one stage, or of the head."""

    name: str
    output_shape: tuple[int, ...]
    num_params: int
    macs: int
    receptive_field: tuple[int, int] | None
    """The widest of its maps; None where it has none, as in a head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A whole network's counts, for one image."""

    num_params: int
    """Without auxiliary classifiers, unless the graph of training was counted."""
    macs: int
    connections: int
    depth: int
    shortest_path: int
    receptive_field: tuple[int, int]
    """The widest of all maps: what each value sees that the head averages or flattens."""
    layers: tuple[LayerCounts, ...]
    parts: tuple[PartCounts, ...]
    """In the order in which they begin to run."""


def count(model: nn.Module, input_shape: Sequence[int], *, training: bool = False) -> Counts:
    """The counts of the network for images of the shape (C, H, W). The model is left as it is.

    Args:
        training: count the graph of training, auxiliary classifiers included, not that of evaluation.
    """
    on_meta = copy_on_meta(model).train(training)
    stages: dict[str, nn.Module] = getattr(on_meta, "feature_modules", {})
    trace = _Trace(_part_by_layer(on_meta, stages))
    for name, layer in on_meta.named_modules():
        if isinstance(layer, _LISTED):
            layer.register_forward_hook(trace.recorder(name))
    batch = 2 if training else 1  # the smallest that batch norm takes
    for stage, module in stages.items():
        module.register_forward_hook(trace.shape_recorder(stage))
    images = torch.empty(batch, *input_shape, device="meta")
    trace.begin_at(images)
    with torch.no_grad(), trace:
        logits = on_meta(images)
    view = trace.view_of([logits])
    assert view is not None, "logits depend on the images"
    return Counts(
        num_params=sum(parameter.numel() for parameter in model.parameters()) if training else num_params(model),
        macs=sum(layer.macs for layer in trace.layers),
        connections=sum(layer.connections for layer in trace.layers),
        depth=view.longest,
        shortest_path=view.shortest,
        receptive_field=_widest([layer for layer in trace.layers if layer.part in stages] or trace.layers) or (1, 1),
        layers=tuple(trace.layers),
        parts=tuple(_parts(trace)),
    )


def seen_in_image(counts: Counts, image_size: int) -> Counts:
    """The counts with receptive fields as a square image of this size has them: no wider than it, and of a part with
    all of its layers, those that see a whole map included."""

    def seen(fields: Iterable[tuple[int, int]]) -> tuple[int, int]:
        highs, wides = zip(*fields, strict=True)
        return min(max(highs), image_size), min(max(wides), image_size)

    fields_of: dict[str, list[tuple[int, int]]] = {}
    for layer in counts.layers:
        fields_of.setdefault(layer.part, []).append(layer.receptive_field)
    return replace(
        counts,
        receptive_field=seen([counts.receptive_field]),
        layers=tuple(replace(layer, receptive_field=seen([layer.receptive_field])) for layer in counts.layers),
        parts=tuple(replace(part, receptive_field=seen(fields_of[part.name])) for part in counts.parts),
    )


_WEIGHED: tuple[Any, ...] = (nn.Conv2d, nn.Linear, CountedLayer)
_LISTED: tuple[Any, ...] = (
    *_WEIGHED,
    nn.BatchNorm2d,
    ResponseNorm,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
)


def copy_on_meta(model: nn.Module) -> nn.Module:
    """The network on the meta device, where it has shapes and no values; the model is left as it is."""
    # deepcopy takes what its memo holds for a copy, so that no weight is ever duplicated in memory.
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()}
    memo |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return copy.deepcopy(model, memo)


def _part_by_layer(model: nn.Module, stages: Mapping[str, nn.Module]) -> Callable[[str], str]:
    """Which part of the network a layer of a name belongs to: a stage, or else what it begins with."""
    names = {id(module): name for name, module in model.named_modules()}
    prefixes = {f"{names[id(module)]}.": stage for stage, module in stages.items()}

    def part(layer: str) -> str:
        inside = (stage for prefix, stage in prefixes.items() if f"{layer}.".startswith(prefix))
        return next(inside, layer.partition(".")[0])

    return part


def _parts(trace: _Trace) -> Iterator[PartCounts]:
    layers_of: dict[str, list[LayerCounts]] = {}
    for layer in trace.layers:
        layers_of.setdefault(layer.part, []).append(layer)
    for name, layers in layers_of.items():
        yield PartCounts(
            name=name,
            output_shape=trace.shapes.get(name, layers[-1].output_shape),
            num_params=sum(layer.num_params for layer in layers),
            macs=sum(layer.macs for layer in layers),
            receptive_field=_widest(layers),
        )


def _widest(layers: Iterable[LayerCounts]) -> tuple[int, int] | None:
    """The largest receptive field of maps; what averages or flattens a whole map is left out."""
    fields = [layer.receptive_field for layer in layers if not layer.kind.startswith(("linear", "average pool to"))]
    return (max(high for high, _ in fields), max(wide for _, wide in fields)) if fields else None


# ------------------------------------------------------------------------------------------------------------ trace


@dataclass(frozen=True, slots=True)
class _View:
    """How a tensor depends on the image: through how many layers, and on which pixels, along both axes."""

    longest: int = 0
    shortest: int = 0
    field: tuple[float, float] = (1.0, 1.0)
    """Pixels that one value sees."""
    step: tuple[float, float] = (1.0, 1.0)
    """Pixels from one value to the next."""

    def through(self, window: Sequence[float], stride: Sequence[float], *, layers: int = 0) -> _View:
        """The view of what a window makes of this tensor, sliding by the stride."""
        return _View(
            self.longest + layers,
            self.shortest + layers,
            _both(field + (size - 1) * step for field, size, step in zip(self.field, window, self.step, strict=True)),
            _both(step * by for step, by in zip(self.step, stride, strict=True)),
        )


def _both(values: Iterable[float]) -> tuple[float, float]:
    high, wide = values
    return high, wide


class _Trace(TorchFunctionMode):
    """Watches one forward pass: a result has seen what its arguments saw, and a layer adds its own window."""

    def __init__(self, part_of: Callable[[str], str]) -> None:
        super().__init__()
        self.layers: list[LayerCounts] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Of each stage's output, whose last layer may be one of several that are stacked."""
        self._part_of = part_of
        self._views: MutableMapping[Tensor, _View] = WeakTensorKeyDictionary()

    def begin_at(self, images: Tensor) -> None:
        """Sets what all else is seen from; tensors that do not depend on it, such as weights, have no view."""
        self._views[images] = _View()

    def view_of(self, values: Iterable[Any]) -> _View | None:
        """The joint view of the tensors in the values; None where none of them depends on the image."""
        views = [view for tensor in _tensors(values) if (view := self._views.get(tensor)) is not None]
        if not views:
            return None
        return _View(
            max(view.longest for view in views),
            min(view.shortest for view in views),
            _both(max(view.field[axis] for view in views) for axis in (0, 1)),
            _both(max(view.step[axis] for view in views) for axis in (0, 1)),
        )

    def shape_recorder(self, stage: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        """A forward hook that keeps the shape of a stage's output."""

        def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            self.shapes[stage] = tuple(output.shape[1:])

        return record

    def recorder(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        """A forward hook that counts the layer of this name."""

        def record(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            before = self.view_of(inputs)
            assert before is not None, "a layer of the forward pass sees the image"
            window, stride = _window(layer, inputs[0], output)
            view = before.through(window, stride, layers=int(isinstance(layer, _WEIGHED)))
            self._views[output] = view
            self.layers.append(_count_layer(name, self._part_of(name), layer, tuple(output.shape[1:]), view))

        return record

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        arguments = kwargs or {}
        view = self.view_of([*args, *arguments.values()])
        # The meta device works norms out of a dozen elementwise functions, which took half of the time.
        result = torch.empty_like(args[0]) if func is F.batch_norm else func(*args, **arguments)
        if view is not None:
            for tensor in _tensors([result]):
                self._views[tensor] = _after_function(func, args, tensor, view)
        return result


def _after_function(func: Any, args: tuple[Any, ...], result: Tensor, view: _View) -> _View:
    """The view of a function's result. Only functions that change the map change it; layers have hooks of their own."""
    first = args[0] if args and isinstance(args[0], Tensor) and args[0].dim() == 4 else None
    if first is None:
        return view
    if result.dim() == 2:  # flattened, or averaged: all of the map
        return view.through(first.shape[2:], (1, 1))
    if func is Tensor.__getitem__ and isinstance(args[1], tuple):
        steps = [index.step or 1 for index in args[1][2:] if isinstance(index, slice)]
        return view.through((1, 1), steps) if len(steps) == 2 else view
    if func is F.interpolate:  # linear: two pixels along each axis, or as many as two of the smaller map cover
        steps = [old / new for old, new in zip(first.shape[2:], result.shape[2:], strict=True)]
        return view.through([2 * max(1.0, step) for step in steps], steps)
    return view


def _tensors(values: Iterable[Any]) -> Iterable[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


# ----------------------------------------------------------------------------------------------------------- layers


def _window(layer: nn.Module, x: Tensor, output: Tensor) -> tuple[Sequence[float], Sequence[float]]:
    """Height and width of what one output value sees of the layer's input, and the distance of two of them."""
    if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | CountedLayer):
        return _pair(layer.kernel_size), _pair(layer.stride)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        strides = [inputs // outputs for inputs, outputs in zip(x.shape[2:], output.shape[2:], strict=True)]
        sizes = zip(x.shape[2:], output.shape[2:], strides, strict=True)
        return [inputs - (outputs - 1) * stride for inputs, outputs, stride in sizes], strides
    return (1, 1), (1, 1)


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _kind(layer: nn.Module, output_shape: tuple[int, ...]) -> str:
    """What the layer is, in a few words."""
    match layer:
        case nn.Linear():
            return "linear"
        case nn.BatchNorm2d():
            return "batch norm"
        case ResponseNorm():
            return "response norm"
        case nn.AdaptiveAvgPool2d():
            return f"average pool to {output_shape[1]}x{output_shape[2]}"
    words = {nn.Conv2d: "conv", nn.MaxPool2d: "max pool", nn.AvgPool2d: "average pool"}
    word = next(word for kind, word in words.items() if isinstance(layer, kind))
    height, width = _pair(layer.kernel_size)
    stride, _ = _pair(layer.stride)
    groups = f", {layer.groups} groups" if isinstance(layer, nn.Conv2d) and layer.groups > 1 else ""
    return f"{word} {height}x{width}{f' / {stride}' if stride > 1 else ''}{groups}"


def _count_layer(name: str, part: str, layer: nn.Module, output_shape: tuple[int, ...], view: _View) -> LayerCounts:
    macs = connections = 0
    if isinstance(layer, CountedLayer):
        kind, macs = layer.kind, layer.count_macs(output_shape)
        connections = layer.count_connections(output_shape)
    else:
        kind = _kind(layer, output_shape)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            outputs = math.prod(output_shape)
            macs = layer.weight[0].numel() * outputs
            connections = macs + (outputs if layer.bias is not None else 0)
    return LayerCounts(
        name=name,
        kind=kind,
        part=part,
        output_shape=output_shape,
        num_params=sum(parameter.numel() for parameter in layer.parameters()),
        connections=connections,
        macs=macs,
        receptive_field=(math.ceil(view.field[0]), math.ceil(view.field[1])),
    )
