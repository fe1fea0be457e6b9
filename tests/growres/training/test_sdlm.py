from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import zoo
from growres.training.procedure import EndToEnd
from growres.training.sdlm import StochasticDiagonalLM


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curvatures(network: nn.Module, images: torch.Tensor, seed: int = 0) -> list[torch.Tensor]:
    optimizer = StochasticDiagonalLM(network.parameters(), lr=0.1, mu=0.02)
    optimizer.estimate_curvature(network, images, generator(seed))
    return [optimizer.state[weight]["curvature"] for weight in network.parameters()]


def test_a_step_is_the_gradient_over_mu_and_the_curvature() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
    optimizer = StochasticDiagonalLM([weight], lr=0.5, mu=0.1)
    optimizer.state[weight]["curvature"] = torch.tensor([0.0, 0.4, 0.9])
    weight.grad = torch.tensor([1.0, 1.0, -2.0])
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([1.0 - 5.0, 2.0 - 1.0, 3.0 + 1.0]))


def test_the_estimate_approaches_the_diagonal_of_the_gauss_newton_matrix() -> None:
    """Of a linear classifier: x_i^2 p_k (1 - p_k), for input i and class k."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    image = torch.randn(1, 1, 2, 2)
    probabilities = network(image).softmax(dim=1).flatten()
    exact = torch.outer(probabilities * (1 - probabilities), image.flatten().square())
    weight, bias = curvatures(network, image.expand(40_000, -1, -1, -1))
    torch.testing.assert_close(weight, exact, rtol=0.05, atol=1e-4)
    torch.testing.assert_close(bias, probabilities * (1 - probabilities), rtol=0.05, atol=1e-4)


def test_the_estimate_is_a_function_of_the_generator_and_leaves_the_network_alone() -> None:
    network = zoo.create_model("lenet5", num_classes=10, in_channels=1, image_size=28).train()
    images = torch.randn(30, 1, 28, 28)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, again, other = curvatures(network, images), curvatures(network, images), curvatures(network, images, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert all((curvature >= 0).all() for curvature in first)
    assert network.training and all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("name", ["vgg11_bn", "googlenet", "densenet121"])
def test_networks_with_norms_dropout_and_auxiliary_classifiers_have_a_curvature_too(name: str) -> None:
    shape = {} if name == "densenet121" else {"width": 0.05}
    network = zoo.create_model(name, num_classes=10, in_channels=1, image_size=32, **shape)
    assert sum(float(curvature.sum()) for curvature in curvatures(network, torch.randn(2, 1, 32, 32))) > 0


def test_without_an_estimate_a_step_is_that_of_a_flat_loss() -> None:
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    F.cross_entropy(network(torch.ones(1, 3)), torch.tensor([0])).backward()
    StochasticDiagonalLM(network.parameters(), lr=0.01, mu=0.02).step()
    torch.testing.assert_close(network.weight.detach(), before - 0.5 * network.weight.grad)


def test_a_resumed_trial_is_the_uninterrupted_one(make_trial, make_context) -> None:
    trial = make_trial(
        model={"name": "lenet5"},
        training={"epochs": 3, "optimizer": {"name": "sdlm", "lr": 0.002, "samples": 40}, "batch_size": 8},
    )
    whole = list(EndToEnd(trial, make_context(trial)).run())
    interrupted = EndToEnd(trial, make_context(trial))
    events = interrupted.run()
    next(events)
    resumed = EndToEnd(trial, make_context(trial))
    resumed.load_state_dict(interrupted.state_dict())
    rest = list(resumed.run())
    assert [event.val_loss for event in rest[:-1]] == [event.val_loss for event in whole[1:-1]]
    assert len({event.val_loss for event in whole[:-1]}) == 3


def test_lenet_learns_digits_at_the_papers_rate_one_image_at_a_time() -> None:
    digits = load_digits()
    images = torch.tensor(digits.images[:400], dtype=torch.float32)[:, None]
    images, labels = (images - images.mean()) / images.std(), torch.tensor(digits.target[:400])
    torch.manual_seed(0)
    network = zoo.create_model("lenet5", num_classes=10, in_channels=1, image_size=8)
    optimizer = StochasticDiagonalLM(network.parameters(), lr=0.0005, mu=0.02)
    for epoch in range(3):
        optimizer.estimate_curvature(network, images[:100], generator(epoch))
        for image, label in zip(images.split(1), labels.split(1), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(network(image), label).backward()
            optimizer.step()
    assert (network(images).argmax(dim=1) != labels).float().mean() < 0.15


def test_what_the_estimate_costs_is_counted(make_trial, make_context) -> None:
    def flops(optimizer: dict[str, object]) -> int:
        trial = make_trial(model={"name": "lenet5"}, training={"epochs": 1, "optimizer": optimizer})
        return next(EndToEnd(trial, make_context(trial)).run()).train_flops

    plain = flops({"name": "sgd", "lr": 0.01})
    assert flops({"name": "sdlm", "lr": 0.001, "samples": 96}) == plain * (192 + 96) // 192
