from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import zoo


def make(name, *, num_classes=10, in_channels=1, image_size=32, **kwargs):
    return zoo.create_model(name, num_classes=num_classes, in_channels=in_channels, image_size=image_size, **kwargs)


def test_all_but_create_model_works_without_torch():
    script = (
        "import sys, zoo\n"
        "zoo.list_models(), zoo.describe('resnet26')\n"
        "assert zoo.check('resnet20', {'shortcut': 'option_b'}, num_classes=10, in_channels=3, image_size=32) == []\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_names_are_listed_by_shell_pattern():
    assert "lenet5" in zoo.list_models()
    assert zoo.list_models("plain?[26]") == ["plain32", "plain56"]
    assert all("resnet" in name for name in zoo.list_models("*resnet*"))
    assert zoo.list_models("transformer*") == []


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_listed_name_is_described_and_checked(name):
    entry = zoo.describe(name)
    assert entry.name == name
    assert entry.title and entry.paper and 1998 <= entry.year <= 2016
    shape = {argument.name: [1] for argument in entry.arguments if argument.required}
    assert zoo.check(name, shape, num_classes=10, in_channels=3, image_size=32) == []


@pytest.mark.parametrize("name", [name for name in zoo.list_models() if zoo.describe(name).min_image_size])
def test_every_listed_network_takes_its_smallest_image_in_grey_and_none_smaller(name):
    smallest = zoo.describe(name).min_image_size
    with torch.device("meta"):
        model = zoo.create_model(name, num_classes=10, in_channels=1, image_size=smallest).eval()
        assert model(torch.empty(2, 1, smallest, smallest)).shape == (2, 10)
    if smallest > 1:
        with pytest.raises(zoo.ModelError, match=f"{smallest - 1}x{smallest - 1} are too small for {name}, whose"):
            zoo.create_model(name, num_classes=10, in_channels=1, image_size=smallest - 1)


@pytest.mark.parametrize(
    ("name", "blocks", "block"),
    [
        ("resnet8", [1, 1, 1], "basic"),
        ("resnet14", [2, 2, 2], "basic"),
        ("plain26", [4, 4, 4], "basic"),
        ("preact_resnet20", [3, 3, 3], "basic"),
        ("preact_resnet164", [18, 18, 18], "bottleneck"),
        ("resnet1001", [111, 111, 111], "bottleneck"),
    ],
)
def test_an_unlisted_depth_means_basic_blocks_unless_published_as_bottlenecks(name, blocks, block):
    preset = {"blocks": blocks, "widths": [16, 32, 64], "block": block, "small_input": True}
    assert zoo.describe(name).preset == preset


@pytest.mark.parametrize("name", ["resnet21", "resnet2", "plain7", "preact_resnet2000"])
def test_a_depth_that_no_network_has_names_its_neighbours(name):
    with pytest.raises(zoo.ModelError, match=r"6n \+ 2 layers.* the nearest are .* and "):
        zoo.describe(name)


@pytest.mark.parametrize("name", ["resnet50", "plain152", "preact_resnet200"])
def test_an_imagenet_depth_is_not_taken_for_a_network_for_small_images(name):
    assert len(zoo.describe(name).preset["blocks"]) == 4


def test_only_residual_networks_grow():
    growing = {name for name in zoo.list_models() if zoo.describe(name).grows}
    assert growing == set(zoo.list_models("*resnet*"))


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("lenet", {}, ["'lenet'", "'lenet5'"]),
        ("resnett20", {}, ["'resnett20'", "'resnet20'"]),
        ("resnet20", {"shortcuts": "option_a"}, ["'shortcuts'", "'shortcut'"]),
        ("resnet20", {"shortcut": "option_d"}, ["'option_d'", "option_a or option_b or option_c"]),
        ("resnet20", {"blocks": [1, 1, 1]}, ["resnet20 fixes blocks at [3, 3, 3]"]),
        ("plain20", {"shortcut": "option_a"}, ["no argument 'shortcut'", "no arguments"]),
        ("lenet5", {"output": 3}, ["output is 3", "rbf or linear"]),
        ("resnet", {"widths": [16]}, ["resnet needs blocks"]),
        ("resnet", {"blocks": [], "widths": []}, ["blocks is []", "widths is []"]),
        ("resnet", {"blocks": [0], "widths": [16]}, ["blocks is [0]"]),
        ("resnet", {"blocks": [True], "widths": [16]}, ["blocks is [True]"]),
        ("resnet", {"blocks": [1.0], "widths": [16]}, ["blocks is [1.0]"]),
        ("resnet", {"blocks": 2, "widths": "16"}, ["blocks is 2", "widths is '16'"]),
        ("resnet", {"blocks": [1, 2], "widths": [16]}, ["blocks names 2 stages", "widths 1"]),
        ("resnet", {"blocks": [1, 1], "widths": [32, 16]}, ["option_a", "[32, 16]", "option_b"]),
        (
            "resnet20",
            {"gate_bias": -6},
            ["gate_bias belongs to h exclusive_gating or shortcut_only_gating", "'identity'"],
        ),
        ("resnet20", {"h": "constant_scaling", "branch_scale": "1"}, ["branch_scale is '1'", "a number from -2 to 2"]),
        ("resnet20", {"stride_in_1x1": True}, ["no argument 'stride_in_1x1'"]),
        ("resnet18", {"small_input": "yes"}, ["small_input is 'yes'", "true or false or auto"]),
        ("preact_resnet20", {"f": "full_pre"}, ["no argument 'f'"]),
        ("preact_resnet", {"blocks": [1], "widths": [16], "block": "bottelneck"}, ["'bottelneck'", "'bottleneck'"]),
    ],
)
def test_what_is_wrong_is_said_with_the_value_and_what_is_allowed(name, kwargs, words):
    problems = "; ".join(zoo.check(name, kwargs))
    assert [word for word in words if word not in problems] == []
    with pytest.raises(zoo.ModelError) as error:
        make(name, **kwargs)
    assert name in str(error.value)


def test_what_the_data_set_decides_is_no_argument_of_a_network():
    assert "no argument 'num_classes'" in zoo.check("resnet20", {"num_classes": 5})[0]


def test_all_problems_are_found_at_once():
    problems = zoo.check("lenet5", {"outptu": "rbf", "output": "softmax"}, num_classes=1, in_channels=0, image_size=0)
    assert len(problems) == 5


def test_falling_widths_are_no_problem_with_projections():
    settings = {"blocks": [1, 1], "widths": [32, 16], "shortcut": "option_b"}
    assert zoo.check("resnet", settings) == []


def test_lenet_has_codes_for_ten_classes_only_and_says_what_else_will_do():
    with pytest.raises(zoo.ModelError, match="100 classes; give it output: linear"):
        make("lenet5", num_classes=100, output="rbf")
    assert zoo.check("lenet5", {"output": "linear"}, num_classes=100) == []


def test_an_image_too_small_is_refused_with_the_smallest_and_a_network_that_fits():
    with pytest.raises(zoo.ModelError, match=r"3x3 are too small for resnet20, whose smallest are 4x4; .* fits is \w+"):
        make("resnet20", image_size=3)
    with pytest.raises(zoo.ModelError, match="16x16 are too small .* 32x32; .* resnet18 with small_input: true"):
        make("resnet18", image_size=16, small_input=False)
    with pytest.raises(zoo.ModelError, match="8x8 are too small .* 16x16; .* preact_resnet with fewer stages"):
        make("preact_resnet", image_size=8, blocks=[1] * 5, widths=[4] * 5)
    assert zoo.check("preact_resnet", {"blocks": [1] * 5, "widths": [4] * 5}, image_size=16) == []


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("vgg16", "googlenet"),
        ("alexnet", "googlenet"),
        ("inception_v3", "inception_v2"),
        ("inception_v4", "inception_v2"),
    ],
)
def test_the_network_that_fits_is_of_the_same_kind_or_of_its_time(name, nearest):
    [problem] = zoo.check(name, {}, image_size=8)
    assert problem.endswith(f"the nearest network that fits is {nearest}")


def test_the_network_that_fits_is_of_the_nearest_depth():
    [problem] = zoo.check("plain18", {}, image_size=4)
    assert problem.endswith("the nearest network that fits is plain20")
