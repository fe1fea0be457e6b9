from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from growres.errors import NonFiniteLossError
from growres.training.loop import evaluate, train_epoch
from growres.training.precision import Precision

FP32 = Precision(device_type="cpu", bf16=False, memory_format=torch.contiguous_format)


def batches(num: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(8 if index < num - 1 else 3, 5, generator=generator),
            torch.arange(8 if index < num - 1 else 3) % 3,
        )
        for index in range(num)
    ]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def run_epoch(net: nn.Module, lr: float, **options: float) -> object:
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    return train_epoch(
        net.train(),
        batches(),
        optimizer=optimizer,
        lr_of_step=lambda step: lr * (step + 1),
        first_step=10,
        num_steps=4,
        precision=FP32,
        **options,
    )


def test_an_epoch_equals_the_loop_that_everybody_writes() -> None:
    ours, theirs = network(), network()
    torch.manual_seed(5)
    measured = run_epoch(ours, 0.01)
    torch.manual_seed(5)
    optimizer = torch.optim.SGD(theirs.train().parameters(), lr=1.0)
    losses, wrong = [], 0
    for index, (images, labels) in enumerate(batches()):
        optimizer.param_groups[0]["lr"] = 0.01 * (10 + index + 1)
        logits = theirs(images)
        loss = nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses += [loss.item()] * len(labels)
        wrong += int((logits.argmax(1) != labels).sum())
    assert measured.loss == pytest.approx(sum(losses) / len(losses))
    assert measured.error == wrong / len(losses)
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(parameter, other)


def test_a_loss_that_is_not_finite_names_the_first_such_step_and_its_learning_rate() -> None:
    with pytest.raises(NonFiniteLossError, match=r"(nan|inf) at step 1[2-4], where the learning rate was \S+e\+"):
        run_epoch(network(), 1e30)


def test_clipping_bounds_the_step() -> None:
    net = network()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    run_epoch(net, 1.0, clip_grad_norm=1e-6)
    changes = [new.detach() - old for new, old in zip(net.parameters(), before, strict=True)]
    moved = math.sqrt(sum(float(change.square().sum()) for change in changes))
    assert moved <= (11 + 12 + 13 + 14) * 1e-6 * 1.001


def test_evaluation_weighs_images_equally_changes_nothing_and_restores_the_modes() -> None:
    net = network().train()
    net[1].eval()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    measured = evaluate(net, batches(), precision=FP32)
    assert net.training and net[3].training and not net[1].training
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    images = torch.cat([images for images, _ in batches()])
    labels = torch.cat([labels for _, labels in batches()])
    logits = net.eval()(images)
    assert measured.num_images == 27
    assert measured.loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert measured.error == int((logits.argmax(1) != labels).sum()) / 27


def test_auxiliary_classifiers_add_to_what_is_lowered_and_not_to_what_is_reported() -> None:
    """An epoch of GoogLeNet against the loop written out."""
    import zoo

    def make() -> nn.Module:
        torch.manual_seed(0)
        return zoo.create_model("googlenet", num_classes=3, in_channels=1, image_size=16, width=0.05, aux=True)

    generator = torch.Generator().manual_seed(2)
    data = [(torch.randn(6, 1, 16, 16, generator=generator), torch.arange(6) % 3) for _ in range(2)]
    ours, theirs = make(), make()
    torch.manual_seed(5)
    measured = train_epoch(
        ours.train(),
        data,
        optimizer=torch.optim.SGD(ours.parameters(), lr=0.1),
        lr_of_step=lambda step: 0.1,
        first_step=0,
        num_steps=2,
        precision=FP32,
    )
    torch.manual_seed(5)
    optimizer, losses = torch.optim.SGD(theirs.train().parameters(), lr=0.1), []
    for images, labels in data:
        logits, (first, second), _ = theirs(images)
        loss = nn.functional.cross_entropy(logits, labels)
        others = nn.functional.cross_entropy(first, labels) + nn.functional.cross_entropy(second, labels)
        optimizer.zero_grad()
        (loss + 0.3 * others).backward()
        optimizer.step()
        losses.append(loss.item())
    assert measured.loss == pytest.approx(sum(losses) / 2)
    for parameter, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected)
