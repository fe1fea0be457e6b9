from __future__ import annotations

import copy

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from growres.config.experiment import OptimizerConfig
from growres.training.loop import train_epoch
from growres.training.optimizers import OldParameters, load_state_by_name, make_optimizer, state_by_name
from growres.training.precision import Precision

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
ADAMW = {"name": "adamw", "lr": 0.01}
RMSPROP = {"name": "rmsprop", "lr": 0.01, "eps": 1.0, "momentum": 0.9}
FP32 = Precision(device_type="cpu", bf16=False, memory_format=torch.contiguous_format)
CONFIGS = pytest.mark.parametrize("config", [SGD, ADAMW, RMSPROP], ids=["sgd", "adamw", "rmsprop"])


def parse(config: dict[str, object]) -> OptimizerConfig:
    parsed: OptimizerConfig = TypeAdapter(OptimizerConfig).validate_python(config)
    return parsed


def step(network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    images = torch.linspace(-1, 1, 12).reshape(3, 4)
    optimizer.zero_grad()
    network(images).square().sum().backward()
    optimizer.step()


def twin_of(network: nn.Module) -> nn.Module:
    twin = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    twin.load_state_dict(network.state_dict())
    return twin


@CONFIGS
def test_a_network_goes_on_as_if_its_optimiser_had_never_been_replaced(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = make_optimizer(network, parse(config))
    step(network, optimizer)
    twin = twin_of(network)
    twin_optimizer = make_optimizer(twin, parse(config))
    load_state_by_name(twin_optimizer, twin, state_by_name(optimizer, network))
    for _ in range(3):
        step(network, optimizer)
        step(twin, twin_optimizer)
    for parameter, twin_parameter in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, twin_parameter)


@CONFIGS
def test_parameters_that_the_state_does_not_name_start_as_with_a_fresh_optimiser(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = make_optimizer(network, parse(config))
    step(network, optimizer)
    state = {name: tensors for name, tensors in state_by_name(optimizer, network).items() if name.startswith("0.")}
    half_known, fresh = twin_of(network), twin_of(network)
    half_known_optimizer, fresh_optimizer = (
        make_optimizer(half_known, parse(config)),
        make_optimizer(fresh, parse(config)),
    )
    load_state_by_name(half_known_optimizer, half_known, state)
    step(half_known, half_known_optimizer)
    step(fresh, fresh_optimizer)
    assert torch.equal(half_known[1].weight, fresh[1].weight)
    assert not torch.equal(half_known[0].weight, fresh[0].weight)


def test_the_copied_state_is_independent_of_the_original() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = make_optimizer(network, parse(SGD))
    step(network, optimizer)
    before = {name: tensors["momentum_buffer"].clone() for name, tensors in state_by_name(optimizer, network).items()}
    twin = twin_of(network)
    twin_optimizer = make_optimizer(twin, parse(SGD))
    load_state_by_name(twin_optimizer, twin, state_by_name(optimizer, network))
    step(twin, twin_optimizer)
    for name, tensors in state_by_name(optimizer, network).items():
        assert torch.equal(tensors["momentum_buffer"], before[name])


def test_rmsprop_divides_by_the_root_of_the_mean_square_and_epsilon() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = make_optimizer(network, parse({"name": "rmsprop", "lr": 0.1, "alpha": 0.9, "eps": 1.0}))
    before = network[0].weight.detach().clone()
    step(network, optimizer)
    gradient = network[0].weight.grad
    torch.testing.assert_close(
        network[0].weight.detach(), before - 0.1 * gradient / ((0.1 * gradient.square()).sqrt() + 1.0)
    )


@CONFIGS
def test_a_layer_that_is_thawed_later_starts_as_with_a_fresh_optimiser(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = make_optimizer(network, parse(config))
    network[0].requires_grad_(False)
    before = network[0].weight.clone()
    for _ in range(2):
        step(network, optimizer)
    assert torch.equal(network[0].weight, before)
    network[0].requires_grad_(True)
    fresh = twin_of(network)
    step(network, optimizer)
    step(fresh, make_optimizer(fresh, parse(config)))
    assert torch.equal(network[0].weight, fresh[0].weight) and not torch.equal(network[0].weight, before)
    assert not torch.equal(network[1].weight, fresh[1].weight)


@CONFIGS
def test_a_layer_of_another_shape_than_its_state_starts_as_with_a_fresh_optimiser(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    network, wider = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))
    optimizer = make_optimizer(network, parse(config))
    step(network, optimizer)
    fresh = copy.deepcopy(wider)
    wider_optimizer = make_optimizer(wider, parse(config))
    load_state_by_name(wider_optimizer, wider, state_by_name(optimizer, network))
    step(wider, wider_optimizer)
    step(fresh, make_optimizer(fresh, parse(config)))
    assert torch.equal(wider[1].weight, fresh[1].weight) and not torch.equal(wider[0].weight, fresh[0].weight)


@CONFIGS
def test_old_parameters_take_the_steps_of_their_factor(config: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    twin = twin_of(network)
    old = OldParameters(names=frozenset({"0.weight", "0.bias"}), lr_factor=0.25)
    for trained, optimizer in (
        (network, make_optimizer(network, parse(config))),
        (twin, make_optimizer(twin, parse(config), old)),
    ):
        train_epoch(
            trained,
            [(torch.linspace(-1, 1, 12).reshape(3, 4), torch.tensor([0, 1, 0]))],
            optimizer=optimizer, lr_of_step=lambda step: 0.1, first_step=0, num_steps=1, precision=FP32,
        )  # fmt: skip
    torch.manual_seed(0)
    before = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    assert torch.equal(network[1].weight, twin[1].weight)
    torch.testing.assert_close(twin[0].weight - before[0].weight, 0.25 * (network[0].weight - before[0].weight))
