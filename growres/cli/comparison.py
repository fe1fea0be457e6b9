"""The rows of `growres zoo compare`: counts, and the speed of training on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

import zoo
from growres.cli import figures
from growres.cli.talk import say
from growres.errors import ConfigError
from growres.training.throughput import measure_throughput
from zoo.counting import count


def compare_networks(
    names: Sequence[str],
    *,
    image_shape: tuple[int, int, int],
    num_classes: int,
    batch_size: int,
    seconds: float,
    cpus: int,
    gpu: bool,
) -> list[dict[str, Any]]:
    """A row for each network, in the order of the names.

    Raises:
        ConfigError: a GPU was asked for and there is none.
        ModelError: a network cannot be made for such images.
    """
    device = _device(gpu=gpu)
    channels, image_size, _ = image_shape
    torch.set_num_threads(cpus)
    networks = {
        name: zoo.create_model(name, num_classes=num_classes, in_channels=channels, image_size=image_size)
        for name in dict.fromkeys(names)
    }
    counts = {name: count(network, image_shape) for name, network in networks.items()}

    def tell(name: str, number: int) -> None:
        if number == 0:
            say(f"measuring {name}")

    speeds = measure_throughput(
        networks,
        image_shape,
        num_classes=num_classes,
        batch_size=batch_size,
        seconds=seconds,
        device=device,
        on_round=tell,
    )
    return [
        {
            "name": name,
            "num_params": counts[name].num_params,
            "macs": counts[name].macs,
            "depth": counts[name].depth,
            "shortest_path": counts[name].shortest_path,
            "receptive_field": list(counts[name].receptive_field),
            "images_per_s": speeds[name].images_per_s,
            "slowest_images_per_s": speeds[name].slowest,
            "quickest_images_per_s": speeds[name].quickest,
            "spread": f"{figures.whole(speeds[name].slowest)}..{figures.whole(speeds[name].quickest)}",
            "image_shape": list(image_shape),
            "num_classes": num_classes,
            "batch_size": batch_size,
            "device": torch.cuda.get_device_name(device) if gpu else "cpu",
            "cpus": cpus,
        }
        for name in networks
    ]


def _device(*, gpu: bool) -> torch.device:
    if not gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("Cannot compare on a GPU: PyTorch finds none here. Leave --gpu out, or see: growres doctor")
    return torch.device("cuda:0")
