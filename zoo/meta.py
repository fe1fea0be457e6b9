"""Networks on torch's meta device, where weights have shapes and no values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.overrides import TorchFunctionMode


class NoValuesOnMeta(TorchFunctionMode):
    """Inside, weights on the meta device are given no initial values: those took most of a network's making there."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        arguments = kwargs or {}
        if getattr(func, "__name__", "") in _INITIALISING:
            weights = args[0] if args else arguments["tensor"]
            if weights.is_meta:
                return weights
        return func(*args, **arguments)


_INITIALISING = frozenset(
    ("constant_", "fill_", "kaiming_normal_", "kaiming_uniform_", "normal_", "ones_", "trunc_normal_", "uniform_")
    + ("zero_", "zeros_")
)
