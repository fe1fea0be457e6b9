from __future__ import annotations

import torch

import zoo
from growres.training.throughput import ROUNDS, measure_throughput


def test_each_network_is_measured_in_turn_and_has_been_trained() -> None:
    networks = {
        name: zoo.create_model(name, num_classes=10, in_channels=1, image_size=8) for name in ("lenet5", "resnet8")
    }
    before = {name: next(network.parameters()).detach().clone() for name, network in networks.items()}
    turns: list[tuple[str, int]] = []
    speeds = measure_throughput(
        networks,
        (1, 8, 8),
        num_classes=10,
        batch_size=8,
        seconds=0.1,
        device=torch.device("cpu"),
        on_round=lambda name, number: turns.append((name, number)),
    )
    assert turns == [(name, number) for number in range(ROUNDS + 1) for name in networks]
    for name, network in networks.items():
        assert 0 < speeds[name].slowest <= speeds[name].images_per_s <= speeds[name].quickest
        assert not torch.equal(next(network.parameters()), before[name])


def test_a_wider_network_is_slower() -> None:
    networks = {
        str(width): zoo.create_model("resnet", blocks=[2], widths=[width], num_classes=10, in_channels=3, image_size=16)
        for width in (4, 64)
    }
    speeds = measure_throughput(
        networks, (3, 16, 16), num_classes=10, batch_size=16, seconds=0.5, device=torch.device("cpu")
    )
    assert speeds["4"].images_per_s > 2 * speeds["64"].images_per_s


def test_auxiliary_classifiers_and_dropout_are_no_hindrance() -> None:
    network = zoo.create_model("googlenet", num_classes=10, in_channels=1, image_size=16, width=0.05, aux=True)
    speeds = measure_throughput(
        {"it": network}, (1, 16, 16), num_classes=10, batch_size=4, seconds=0.1, device=torch.device("cpu")
    )
    assert speeds["it"].images_per_s > 0
