from __future__ import annotations

import zoo
from growres.training.flops import train_flops_per_image


def flops(name: str, *, frozen: bool = False, **kwargs: object) -> int:
    network = zoo.create_model(name, num_classes=10, in_channels=3, image_size=32, **kwargs)
    if frozen:
        network.requires_grad_(False)
        network.head.requires_grad_(True)
    return train_flops_per_image(network, {"name": name, **kwargs}, (3, 32, 32))


def test_resnet20_costs_three_times_its_forward_pass_but_for_the_images_gradient() -> None:
    macs, stem_macs = 40_551_040, 3 * 16 * 9 * 32 * 32
    assert flops("resnet20") == 2 * (3 * macs - stem_macs)


def test_a_deeper_network_costs_more_and_a_frozen_one_little_more_than_its_forward_pass() -> None:
    assert flops("resnet14") < flops("resnet20") < flops("resnet26")
    assert 1.0 < flops("resnet20", frozen=True) / (2 * 40_551_040) < 1.01


def test_counting_leaves_the_network_as_it_is() -> None:
    network = zoo.create_model("resnet8", num_classes=10, in_channels=1, image_size=8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_flops_per_image(network, {"name": "resnet8"}, (1, 8, 8))
    assert network.training
    assert all((value == before[name]).all() for name, value in network.state_dict().items())
