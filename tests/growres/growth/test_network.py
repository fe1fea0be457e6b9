from __future__ import annotations

import pytest
import torch

import zoo
from growres.errors import GrowthError
from growres.growth.initialisers import Kaiming, ZeroBranch
from growres.growth.network import append_block, first_blocks, growing_network, largest_logit_change
from zoo.resnet import ResNet

KINDS = [(name, block) for name in ("resnet", "preact_resnet") for block in ("basic", "bottleneck")]
IMAGES = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=KINDS, ids=["_".join(kind) for kind in KINDS])
def network(request: pytest.FixtureRequest) -> ResNet:
    """A small network that has been trained a little, so that its batch norms are not the identity."""
    name, block = request.param
    torch.manual_seed(0)
    made = growing_network(
        zoo.create_model(
            name, blocks=[1, 2, 1], widths=[3, 4, 5], block=block, num_classes=4, in_channels=2, image_size=8
        )
    )
    train_steps(made, 3)
    return made


def train_steps(network: ResNet, steps: int) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(IMAGES), torch.arange(6) % 4).backward()
        optimizer.step()


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_function_preserving_block_leaves_the_logits_as_they_were(network: ResNet, stage: int) -> None:
    grown = append_block(network, stage, ZeroBranch())
    torch.testing.assert_close(grown.eval()(IMAGES), network.eval()(IMAGES), rtol=0, atol=0)
    torch.testing.assert_close(grown.train()(IMAGES), network.train()(IMAGES), rtol=0, atol=0)


@pytest.mark.parametrize("f", ["original", "relu_only_pre", "full_pre"])
def test_a_zero_branch_keeps_the_function_in_every_order_that_growth_allows(f: str) -> None:
    made = zoo.create_model("resnet", blocks=[1, 1], widths=[3, 4], f=f, num_classes=4, in_channels=2, image_size=8)
    parent = growing_network(made)
    train_steps(parent, 3)
    grown = append_block(parent, 1, ZeroBranch())
    torch.testing.assert_close(grown.eval()(IMAGES), parent.eval()(IMAGES), rtol=0, atol=0)
    before = {name: parameter.detach().clone() for name, parameter in grown.stages[1][-1].named_parameters()}
    train_steps(grown, 2)
    after = dict(grown.stages[1][-1].named_parameters())
    assert [name for name in before if torch.equal(before[name], after[name])] == []


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_every_parameter_of_a_zero_branch_learns_within_two_steps(network: ResNet, stage: int) -> None:
    grown = append_block(network, stage, ZeroBranch())
    block = grown.stages[stage][-1]
    before = {name: parameter.detach().clone() for name, parameter in block.named_parameters()}
    train_steps(grown, 2)
    assert all(not torch.equal(parameter, before[name]) for name, parameter in block.named_parameters())


def test_an_ordinary_block_disturbs_the_logits(network: ResNet) -> None:
    assert largest_logit_change(network, append_block(network, 1, Kaiming()), IMAGES) > 1e-3
    assert largest_logit_change(network, append_block(network, 1, ZeroBranch()), IMAGES) == 0.0


def test_growing_makes_a_copy_and_leaves_the_parent_alone(network: ResNet) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    grown = append_block(network, 1, ZeroBranch())
    assert grown.architecture["blocks"] == [1, 3, 1] and network.architecture["blocks"] == [1, 2, 1]
    train_steps(grown, 1)
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_grown_network_is_rebuilt_from_its_architecture(network: ResNet) -> None:
    grown = append_block(append_block(network, 0, ZeroBranch()), 2, Kaiming())
    rebuilt = zoo.create_model(**grown.architecture, num_classes=4, in_channels=2, image_size=8)
    rebuilt.load_state_dict(grown.state_dict())
    torch.testing.assert_close(rebuilt.eval()(IMAGES), grown.eval()(IMAGES), rtol=0, atol=0)


def test_an_absent_stage_is_refused_with_the_stages_that_there_are(network: ResNet) -> None:
    with pytest.raises(GrowthError, match=r"stage 3: the network has stages 0 to 2"):
        append_block(network, 3, ZeroBranch())


def test_a_network_without_stages_cannot_grow() -> None:
    with pytest.raises(GrowthError, match="Cannot grow a LeNet5"):
        growing_network(zoo.create_model("lenet5", num_classes=10, in_channels=1, image_size=32))


@pytest.mark.parametrize(
    ("number", "expected"), [(1, [1]), (2, [2]), (3, [2, 1]), (5, [2, 3]), (6, [2, 3, 1]), (9, [2, 3, 1])]
)
def test_the_first_blocks_fill_the_stages_in_order(number: int, expected: list[int]) -> None:
    assert first_blocks([2, 3, 1], number) == expected
