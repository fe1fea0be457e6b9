from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter
from torch import nn

from growres.config.experiment import OptimizerConfig
from growres.training.optimizers import load_state_by_name, make_optimizer, state_by_name

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
ADAMW = {"name": "adamw", "lr": 0.01}
RMSPROP = {"name": "rmsprop", "lr": 0.01, "eps": 1.0, "momentum": 0.9}
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
