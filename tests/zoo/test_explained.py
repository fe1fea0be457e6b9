"""What `zoo show` claims, and whether the figures beside each claim bear it out."""

from __future__ import annotations

import math

import pytest
import torch

import zoo
from zoo.explained import explain, subject_of

# One process takes them all, where the suite runs in several: what a network is explained by is worked out once.
pytestmark = pytest.mark.xdist_group("explained")

AS_PUBLISHED = [
    "lenet5",
    "alexnet",
    "alexnet_torchvision",
    "vgg11",
    "vgg11_bn",
    "googlenet",
    "googlenet_torchvision",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "resnet20",
    "plain20",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "preact_resnet110")),
    "densenet40_k12",
]


SMALLER_OR_GREY = [
    "lenet5",
    "alexnet",
    "vgg19",
    "googlenet",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("inception_v3", "resnet18", "densenet121")),
]


def claims_of(name, *, num_classes=None, in_channels=None, image_size=None, **kwargs):
    entry = zoo.describe(name)
    channels, size, _ = entry.input_shape
    subject = subject_of(
        name,
        kwargs,
        num_classes=num_classes or entry.num_classes,
        in_channels=in_channels or channels,
        image_size=image_size or size,
    )
    return {claim.title: claim for claim in explain(subject)}


def rows_of(claims, title):
    return {row[0]: row[1:] for row in claims[title].rows}


@pytest.fixture(scope="module")
def published():
    cache = {}

    def claims(name):
        if name not in cache:
            cache[name] = claims_of(name)
        return cache[name]

    return claims


@pytest.mark.parametrize("name", AS_PUBLISHED)
def test_every_claim_has_a_text_and_whole_rows_of_figures(published, name):
    claims = published(name)
    assert len(claims) >= 2
    for claim in claims.values():
        assert len(claim.text) > 100 and claim.text.endswith((".", ")")) and "  " not in claim.text
        assert claim.rows and all(len(row) == len(claim.columns) for row in claim.rows)
        assert all(math.isfinite(cell) for row in claim.rows for cell in row if isinstance(cell, float))


@pytest.mark.parametrize("name", SMALLER_OR_GREY)
def test_a_network_is_explained_at_the_users_own_size(name):
    claims = claims_of(name, num_classes=7, in_channels=1, image_size=28)
    at_home = claims_of(name)
    assert claims.keys() == at_home.keys() or name in ("vgg19",)
    assert claims != at_home


@pytest.mark.parametrize("widths", [[8, 16], pytest.param([16, 8], marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("resnet", {"h": "constant_scaling", "shortcut": "option_b"}),
        ("resnet", {"f": "bn_after", "block": "bottleneck", "shortcut": "option_c"}),
        ("preact_resnet", {"h": "exclusive_gating", "shortcut": "option_b"}),
        ("plain", {"block": "bottleneck"}),
    ],
)
def test_a_variant_of_any_shape_is_explained_and_the_claims_hold_for_its_form(name, kwargs, widths):
    claims = claims_of(name, blocks=[1, 2], widths=widths, **kwargs)
    if name == "resnet":
        assert rows_of(claims, "A block is a correction")["its last layer zero"] == (0.0,)
    if name == "preact_resnet":
        path = rows_of(claims, "Nothing but additions from the first block to the last")["with every branch silent"]
        assert 0.3 < path[1] < 3


def test_alexnets_two_groups_save_as_much_at_224_pixels():
    groups = rows_of(claims_of("alexnet", image_size=224), "Two halves that rarely talk")
    assert groups["two groups, as published"][1] == 665_784_864
    assert groups["one group"][1] == 1_076_634_144


def test_large_images_are_explained_without_filling_the_memory():
    claims = claims_of("googlenet", image_size=1024, num_classes=10)
    assert len(claims) == 4


def test_explaining_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    claims_of("plain20")
    assert torch.equal(torch.rand(2), expected)


def test_the_same_figures_come_out_each_time():
    assert claims_of("resnet20") == claims_of("resnet20")


# --------------------------------------------------------------------------------------- the figures and the claims


def test_lenets_weights_are_shared_its_maps_differ_and_its_codes_are_far_apart(published):
    claims = published("lenet5")
    shared = rows_of(claims, "One small detector, used everywhere")
    assert shared["C1"] == (122_304, 156, "784.0x") and shared["C3"] == (151_600, 1_516, "100.0x")
    maps = rows_of(claims, "Sixteen maps that must become different")
    assert maps["as published"] == (60, 16, 1_516, 151_600)
    assert maps["every map sees all"] == (96, 1, 2_416, 241_600)
    moved = rows_of(claims, "Where exactly matters less after each subsampling")
    assert moved["S2"][1] < moved["C1"][1] and moved["S4"][1] < moved["C3"][1]
    codes = rows_of(claims, "Answers that are pictures")
    assert codes["bitmaps"][1] > 5 * codes["one unit a class"][1]


def test_alexnets_weights_are_connected_its_work_is_convolution_and_groups_save_a_third(published):
    claims = published("alexnet")
    parts = rows_of(claims, "The weights are in one place and the work in another")
    assert parts["fully connected"] == (58_631_144, "96.2%", 58_621_952, "8.1%")
    groups = rows_of(claims, "Two halves that rarely talk")
    assert groups["two groups, as published"][1] == 665_784_864
    assert groups["one group"][1] == 1_076_634_144
    slopes = rows_of(claims, "Units that do not saturate")
    assert slopes[10.0][0] < 0.1 and slopes[10.0][2] == pytest.approx(0.5, abs=0.01)
    silenced = claims["Rivalry between neighbouring maps"].rows
    assert silenced[0][3] == "1.00x", "of small inputs it takes nothing away"
    assert silenced[1][2] > silenced[2][2] > silenced[3][2]
    assert "Two halves that rarely talk" not in published("alexnet_torchvision")


def test_three_3x3_see_what_a_7x7_sees_for_fewer_weights(published):
    windows = rows_of(published("vgg11"), "Three small windows for one large one")
    assert windows["3 x 3x3"][0] == windows["1 x 7x7"][0] == "7x7"
    assert windows["2 x 3x3"][0] == windows["1 x 5x5"][0] == "5x5"
    assert windows["3 x 3x3"][1] * 49 == windows["1 x 7x7"][1] * 27
    assert windows["2 x 3x3"][1] * 25 == windows["1 x 5x5"][1] * 18


def test_vggs_first_connected_layer_holds_most_of_it_and_norms_add_little(published):
    layers = rows_of(published("vgg11"), "The price of the last layers")
    assert layers["fc6"][0] == 102_764_544
    norms = rows_of(published("vgg11_bn"), "Batch norm, which the paper did not have")
    assert norms["vgg11_bn"][1] == 5_504


def test_the_reductions_of_googlenet_save_three_quarters(published):
    claims = published("googlenet")
    modules = rows_of(claims, "Small convolutions before the large ones")
    assert modules["all nine"] == (5_849_136, 23_718_912, 1_103_972_352, 3_881_213_952)
    assert modules["ratio"] == ("", "4.1x", "", "3.5x")
    classifier = rows_of(claims, "An average for a classifier")
    assert classifier["on the flattened map"] == (50_177_000, "49.0x")
    assert "Counted for 1,000 classes" in claims["An average for a classifier"].text
    helpers = claims["Helpers that are gone when training is over"].rows
    assert helpers[1][1] - helpers[0][1] == 6_379_728
    assert helpers[1][5] > helpers[0][5], "the helpers' gradients add to the stem's"


def test_batch_norm_makes_the_size_of_weights_matter_no_more(published):
    claims = published("inception_v2")
    layers = rows_of(claims, "Weights whose size no longer matters")
    assert layers["convolution, relu"] == pytest.approx((10, 1), rel=1e-3)
    assert layers["convolution, batch norm, relu"] == pytest.approx((1, 0.1), rel=1e-3)
    cost = rows_of(claims, "Two weights a map")
    assert cost["batch norms"][:2] == (69, 20_032)


def test_rows_and_columns_see_the_square_for_less(published):
    windows = rows_of(published("inception_v3"), "Windows as rows and columns")
    assert windows["1x7, 7x1"][0] == windows["7x7"][0] and windows["1x7, 7x1"][2] == "-71%"
    assert windows["1x3, 3x1"][0] == windows["3x3"][0] and windows["1x3, 3x1"][2] == "-33%"
    saved = rows_of(published("inception_v3"), "What that saves in the middle of the network")["all four"]
    assert saved[1] > 2 * saved[0] and saved[3] > 2 * saved[2]


def test_the_modules_of_inception_v4_are_of_three_kinds(published):
    kinds = rows_of(published("inception_v4"), "One plan for all modules of a stage")
    assert {kind: row[0] for kind, row in kinds.items() if kind.startswith("inception")} == {
        "inception_a": 4,
        "inception_b": 7,
        "inception_c": 3,
    }
    assert kinds["inception_b"][1] == "1024x17x17"


def test_shortcuts_keep_gradients_together_and_tame_and_the_claim_is_there_for_all_three_forms(published):
    for name in ("resnet20", "plain20", "preact_resnet110"):
        rows = rows_of(published(name), "A way for the gradient around every block")
        for depth in (20, 56, 110):
            plain, plain_growth, residual, residual_growth, preact, preact_growth = rows[depth]
            assert residual > plain + 0.2 and preact > plain + 0.2
            assert residual_growth < plain_growth / 2 and preact_growth < plain_growth / 2
        assert abs(rows[110][0]) < 0.1 < 0.5 < rows[110][2]


def test_shortcuts_cost_nothing_and_make_the_shortest_path_short(published):
    rows = rows_of(published("resnet20"), "Shortcuts cost nothing")
    assert rows["plain twin"][:2] == rows["residual, option A"][:2] == (269_722, 40_551_040)
    assert rows["plain twin"][2:] == (20, 20) and rows["residual, option A"][2:] == (20, 2)


def test_a_silent_block_changes_nothing(published):
    rows = rows_of(published("resnet20"), "A block is a correction")
    assert rows["its last layer zero"] == (0.0,) and rows["as it is drawn"][0] > 0.1


@pytest.mark.slow
def test_a_bottleneck_saves_most_of_a_block(published):
    rows = rows_of(published("resnet50"), "A bottleneck pays for depth")
    assert rows["bottleneck: 1x1, 3x3, 1x1"][0] < 0.1 * rows["basic: 3x3, 3x3, as wide"][0]
    assert rows["ResNet-152, whole"][1] < rows["VGG-16, whole"][1]


@pytest.mark.slow
def test_a_silent_path_is_the_identity_and_half_of_it_54_times_is_nothing(published):
    claims = published("preact_resnet110")
    silent = rows_of(claims, "Nothing but additions from the first block to the last")["with every branch silent"]
    assert silent[1] == pytest.approx(1, abs=1e-4)
    paths = rows_of(claims, "What stands on the path is multiplied by itself")
    assert paths["identity"][0] == pytest.approx(1, abs=1e-4)
    assert paths["constant_scaling"][0] == pytest.approx(0.5**54, rel=0.01)
    assert paths["exclusive_gating"][0] < 0.9
    assert paths["exclusive_gating"][2] < 0.01 and paths["shortcut_only_gating"][2] == 1
    assert paths["dropout"][0] == 0
    orders = rows_of(claims, "Where norm and relu stand")
    assert len({row[1] for row in orders.values()}) == 1


@pytest.mark.slow
def test_dense_connections_are_counted_and_their_memory_is_the_price(published):
    claims = claims_of("densenet121")
    assert rows_of(claims, "Every layer hears all layers before it")["all"][:2] == (58, 535)
    narrow = rows_of(claims, "Layers that add only a few maps")
    assert narrow["densenet_bc100_k12"][1] * 13 < narrow["preact_resnet1001"][1]
    assert narrow["densenet_bc100_k12"][3] > narrow["resnet110"][3]
    ways = rows_of(claims, "A short way to every layer")
    assert ways["densenet121"] == (121, 5)
    memory = rows_of(claims, "The price: memory")
    assert memory["memory_efficient: true"][0] < 0.4 * memory["as usual"][0]
    assert 1 < memory["memory_efficient: true"][1] / memory["as usual"][1] < 1.2


# ------------------------------------------------------------------------------------ true of the network that is shown


def test_the_later_googlenet_is_explained_as_it_is(published):
    later, paper = published("googlenet_torchvision"), published("googlenet")
    windows = rows_of(later, "Several windows at once")
    assert windows["3x3, for the paper's 5x5"][0] == "3x3" and "5x5" not in windows
    assert "A 3x3 window over 480 maps" in later["Small convolutions before the large ones"].text
    helpers = "Helpers that are gone when training is over"
    assert "torchvision's form has it all the same" in later[helpers].text
    assert paper[helpers].text.startswith("Batch norm did not exist yet")
    assert not any("torchvision" in claim.text for claim in paper.values())


def test_a_vgg_with_batch_norm_does_not_claim_to_have_nothing_else(published):
    title = "Three small windows for one large one"
    assert "Nothing else is in the network" in published("vgg11")[title].text
    assert "Nothing else" not in published("vgg11_bn")[title].text
    assert "2015" in published("vgg11_bn")["Batch norm, which the paper did not have"].text


def test_a_lenet_without_codes_says_that_its_output_is_linear(published):
    title = "Answers that are pictures"
    assert "linear" not in published("lenet5")[title].text
    for claims in (claims_of("lenet5", num_classes=26), claims_of("lenet5", output="linear")):
        assert "has no codes: its output is linear" in claims[title].text


def test_a_published_figure_says_which_of_several_it_is(published):
    path = published("preact_resnet110")["Nothing but additions from the first block to the last"].text
    assert "4.92% on CIFAR-10 with batches of 128, 4.62% with batches of 64" in path
    narrow = published("densenet40_k12")["Layers that add only a few maps"].text
    assert "4.62% with batches of 64 and 4.92% with batches of 128" in narrow
    assert "resnet, option A" in rows_of(published("plain20"), "The control of the residual network")
    assert "k = 2" in published("alexnet")["Rivalry between neighbouring maps"].text
