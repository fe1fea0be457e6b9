"""The rows of `growres zoo compare`: counts, and the speed of training on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

import zoo
from growres.cli import figures
from growres.cli.talk import say
from growres.errors import ConfigError
from growres.training.throughput import Throughput, measure_throughput
from zoo.counting import Counts, count, seen_in_image


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
        ConfigError: a GPU was asked for and there is none, fewer than two networks are named, or one has no shape of
            its own.
        ModelError: a network cannot be made for such images.
    """
    if len(set(names)) < 2:
        raise ConfigError(f"Cannot compare {names[0]} with itself: name two different networks or more.")
    for name in names:
        if any(argument.required for argument in zoo.describe(name).arguments):
            raise ConfigError(
                f"Cannot compare {name}: it has no shape of its own. Name a network that has, as {name}26."
            )
    device = _device(gpu=gpu)
    channels, image_size, _ = image_shape
    torch.set_num_threads(cpus)
    networks = {
        name: zoo.create_model(name, num_classes=num_classes, in_channels=channels, image_size=image_size)
        for name in dict.fromkeys(names)
    }
    counts = {name: seen_in_image(count(network, image_shape), image_size) for name, network in networks.items()}

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
    setting = {
        "image_shape": list(image_shape),
        "num_classes": num_classes,
        "batch_size": batch_size,
        "device": torch.cuda.get_device_name(device) if gpu else "cpu",
        "cpus": cpus,
    }
    return [{"name": name, **_figures(counts[name], speeds[name]), **setting} for name in networks]


def _figures(counts: Counts, speed: Throughput) -> dict[str, Any]:
    return {
        "num_params": counts.num_params,
        "macs": counts.macs,
        "depth": counts.depth,
        "shortest_path": counts.shortest_path,
        "receptive_field": list(counts.receptive_field),
        "images_per_s": speed.images_per_s,
        "slowest_images_per_s": speed.slowest,
        "quickest_images_per_s": speed.quickest,
        "spread": f"{figures.whole(speed.slowest)}..{figures.whole(speed.quickest)}",
    }


def _device(*, gpu: bool) -> torch.device:
    if not gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("Cannot compare on a GPU: PyTorch finds none here. Leave --gpu out, or see: growres doctor")
    return torch.device("cuda:0")
