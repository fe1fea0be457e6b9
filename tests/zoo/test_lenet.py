from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.lenet import (
    C3_TABLE,
    CODE_HEIGHT,
    CODE_WIDTH,
    DISTANCE_SCALE,
    CodeDistance,
    PartialConvolution,
    Squash,
    Subsampling,
    digit_codes,
    to_32x32,
)


def make(*, in_channels=1, num_classes=10, image_size=32, **kwargs):
    return zoo.create_model("lenet5", num_classes=num_classes, in_channels=in_channels, image_size=image_size, **kwargs)


def test_the_squash_is_one_at_one_and_bounded():
    squash = Squash()
    assert squash(torch.tensor([1.0, -1.0, 0.0])).tolist() == pytest.approx([1, -1, 0], abs=1e-5)
    assert squash(torch.tensor(100.0)).item() == pytest.approx(1.7159)


def test_the_c3_table_gives_each_map_its_own_inputs_and_each_input_its_share():
    assert Counter(len(sources) for sources in C3_TABLE) == {3: 6, 4: 9, 6: 1}
    assert Counter(source for sources in C3_TABLE for source in sources) == dict.fromkeys(range(6), 10)
    assert len(set(C3_TABLE)) == 16


def test_c3_is_a_convolution_of_each_map_with_the_inputs_of_its_table_row():
    c3 = PartialConvolution(6, C3_TABLE)
    x = torch.randn(2, 6, 9, 9)
    kernels = iter(c3.weight)
    maps = [
        sum(F.conv2d(x[:, [source]], next(kernels)[None, None]) for source in sources) + c3.bias[out]
        for out, sources in enumerate(C3_TABLE)
    ]
    torch.testing.assert_close(c3(x), torch.cat(maps, dim=1), rtol=1e-4, atol=1e-5)


def test_c3_ignores_the_maps_that_its_table_leaves_out():
    c3 = PartialConvolution(6, C3_TABLE)
    x = torch.randn(1, 6, 5, 5)
    changed = x.clone()
    changed[:, 5] += 1.0
    differs = (c3(x) != c3(changed)).flatten().tolist()
    assert differs == [5 in sources for sources in C3_TABLE]


def test_subsampling_sums_weighs_and_shifts():
    layer = Subsampling(2)
    x = torch.randn(3, 2, 4, 4)
    first = x[:, 1, :2, :2].sum(dim=(1, 2)) * layer.weight[1, 0, 0] + layer.bias[1, 0, 0]
    torch.testing.assert_close(layer(x)[:, 1, 0, 0], first)


def test_the_gradient_of_subsampling_reaches_each_pixel_with_its_maps_weight():
    layer = Subsampling(2)
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.detach().expand(1, 2, 4, 4))
    torch.testing.assert_close(layer.weight.grad.flatten(), x.detach().sum(dim=(0, 2, 3)))


def test_the_gradients_of_subsampling_sum_to_what_came_in_weighed_for_each_of_four_pixels():
    layer = Subsampling(3)
    x = torch.randn(2, 3, 6, 8, requires_grad=True)
    pooled = layer(x)
    arriving = torch.rand_like(pooled)
    pooled.backward(arriving)
    weights = layer.weight.detach().flatten()
    torch.testing.assert_close(x.grad.sum(dim=(2, 3)), 4 * weights * arriving.sum(dim=(2, 3)))
    torch.testing.assert_close(layer.bias.grad.flatten(), arriving.sum(dim=(0, 2, 3)))


def bitmap(code):
    return [[pixel > 0 for pixel in row] for row in code.view(CODE_HEIGHT, CODE_WIDTH).tolist()]


def regions(pixels, value, neighbours):
    """The number of connected regions of this value."""
    left = {(r, c) for r, row in enumerate(pixels) for c, pixel in enumerate(row) if pixel is value}
    found = 0
    while left:
        found += 1
        edge = [left.pop()]
        while edge:
            r, c = edge.pop()
            near = {(r + dr, c + dc) for dr, dc in neighbours} & left
            left -= near
            edge += near
    return found


CROSS = [(0, 1), (0, -1), (1, 0), (-1, 0)]
AROUND = [*CROSS, (1, 1), (1, -1), (-1, 1), (-1, -1)]


def test_the_codes_are_ten_distinct_bitmaps_of_plus_and_minus_one():
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    differing = (codes[:, None] != codes[None]).sum(dim=2) + 84 * torch.eye(10, dtype=torch.int64)
    assert differing.min() >= 10


@pytest.mark.parametrize(("digit", "holes"), list(enumerate([1, 0, 0, 0, 1, 0, 1, 0, 2, 1])))
def test_a_code_reads_as_its_digit_one_stroke_with_its_holes(digit, holes):
    pixels = bitmap(digit_codes()[digit])
    bordered = [[False] * 9, *([False, *row, False] for row in pixels), [False] * 9]
    assert regions(pixels, True, AROUND) == 1
    assert regions(bordered, False, CROSS) == 1 + holes


def test_an_image_that_meets_a_code_exactly_is_that_class():
    codes = digit_codes()
    logits = CodeDistance(codes)(codes)
    assert torch.equal(logits.diagonal(), torch.zeros(10))
    assert torch.equal(logits.argmax(dim=1), torch.arange(10))
    distance = (codes[3] - codes[8]).square().sum()
    torch.testing.assert_close(logits[3, 8], -DISTANCE_SCALE * distance)


def test_the_codes_are_fixed_and_no_part_of_the_weights():
    model = make()
    assert "out.codes_KF" not in model.state_dict()
    assert all(not name.startswith("out") for name, _ in model.named_parameters())


def test_distances_keep_full_precision_under_autocast():
    model = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(torch.randn(2, 1, 32, 32)).dtype == torch.float32


@pytest.mark.parametrize("in_channels", [1, 3])
def test_weights_are_uniform_within_the_papers_bound(in_channels):
    model = make(in_channels=in_channels, output="linear")
    fan_ins = {"c1": 25 * in_channels, "s2": 4, "s4": 4, "c5": 400, "f6": 120, "out": 84}
    for name, fan_in in fan_ins.items():
        for parameter in model.get_submodule(name).parameters():
            assert parameter.abs().max() <= 2.4 / fan_in
    assert model.c5.weight.abs().max().item() == pytest.approx(2.4 / 400, rel=0.01)
    pairs = [2.4 / (25 * len(sources)) for sources in C3_TABLE for _ in sources]
    largest = model.c3.weight.abs().amax(dim=(1, 2))
    assert (largest <= torch.tensor(pairs)).all()


def test_28x28_is_bordered_with_its_own_background():
    images = torch.full((1, 1, 28, 28), -0.4)
    images[:, :, 10:18, 10:18] = 2.8
    bordered = to_32x32(images)
    assert bordered.shape == (1, 1, 32, 32)
    assert torch.equal(bordered[:, :, 2:-2, 2:-2], images)
    assert (bordered[:, :, :2] == -0.4).all()


@pytest.mark.parametrize("image_size", [1, 8, 16, 31, 64])
def test_other_sizes_are_interpolated_and_keep_a_flat_image_flat(image_size):
    flat = torch.full((1, 3, image_size, image_size), 0.7)
    torch.testing.assert_close(to_32x32(flat), torch.full((1, 3, 32, 32), 0.7))


def test_c5_sees_the_whole_image():
    model = make(output="linear")
    images = torch.randn(1, 1, 32, 32, requires_grad=True)
    model(images).sum().backward()
    assert isinstance(model.c5, nn.Conv2d)
    assert (images.grad != 0).all()


def test_auto_takes_the_published_output_for_ten_classes_and_a_linear_one_for_others():
    assert isinstance(make(num_classes=10).out, CodeDistance)
    other = make(num_classes=7)
    assert isinstance(other.out, nn.Linear) and other.out.out_features == 7
