import csv
import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from dataclasses import asdict

import pytest
import torch

import zoo
from growres.cli.network import LAYER_COLUMNS, folded
from growres.cli.tables import table_lines
from zoo.explained import subject_of


def test_the_zoo_is_listed_with_size_work_and_published_error(growres):
    rows = growres("zoo", "list", "--format", "json").json
    assert [row["name"] for row in rows] == zoo.list_models()
    by_name = {row["name"]: row for row in rows}
    assert by_name["lenet5"]["year"] == 1998
    assert by_name["preact_resnet"]["grows"] is True
    assert "blocks" in [argument["name"] for argument in by_name["preact_resnet"]["arguments"]]
    vgg = by_name["vgg16"]
    assert (vgg["depth"], vgg["num_params"], vgg["macs"]) == (16, 138_357_544, 15_470_264_320)
    assert (vgg["top1_error"], vgg["top5_error"], vgg["measured_on"]) == (0.256, 0.081, "ImageNet")
    assert "dense" in vgg["protocol"] and "table 3" in vgg["source"] and vgg["recipes"] == ["paper", "short"]


def test_the_table_shows_errors_with_their_protocol(growres):
    lines = growres("zoo", "list", "resnet50").out.splitlines()
    assert lines[0].split() == ["name", "year", "depth", "params", "MACs", "top-1", "top-5", "on", "protocol", "source"]
    assert "25.56M  4.09B  22.85%  6.71%  ImageNet  10-crop, stride in the 1x1  He et al. 2015, table 3" in lines[1]


def test_the_list_is_there_within_a_second_and_without_torch():
    script = (
        "import sys\nfrom growres.cli.app import main\n"
        "code = main(['zoo', 'list'])\nsys.exit(code or 'torch' in sys.modules)"
    )
    times = []
    for _ in range(3):  # another process may have the machine for a moment
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    assert min(times) < 1.0


def test_a_pattern_chooses(growres):
    names = [row["name"] for row in growres("zoo", "list", "preact*", "--format", "json").json]
    assert names and all(name.startswith("preact") for name in names)


def test_a_depth_that_is_not_listed_is_found_by_its_name_and_counted(growres):
    [row] = growres("zoo", "list", "resnet26", "--format", "json").json
    assert (row["name"], row["depth"]) == ("resnet26", 26) and row["num_params"] > 300_000


def names_listed(growres, *patterns):
    return [row["name"] for row in growres("zoo", "list", *patterns, "--format", "json").json]


def test_several_patterns_may_be_given_and_each_network_is_listed_once(growres):
    assert names_listed(growres, "densenet121", "vgg1[16]", "vgg11") == ["vgg11", "vgg16", "densenet121"]


def test_a_bare_word_is_a_name_or_a_beginning_or_a_part_of_names_in_any_case(growres):
    assert names_listed(growres, "VGG") == zoo.list_models("vgg*")
    assert names_listed(growres, "bc100") == ["densenet_bc100_k12"]
    assert names_listed(growres, "resnet20") == ["resnet20"]
    assert names_listed(growres, "Plain26") == ["plain26"]


def test_a_pattern_that_matches_nothing_says_so(growres):
    answer = growres("zoo", "list", "vqq*")
    assert answer.code == 2 and "No network matches 'vqq*'" in answer.err
    assert "The nearest is googlenet." in growres("zoo", "list", "*googelnet*").err


def test_what_matches_nothing_names_the_nearest(growres):
    for verb in ("list", "show", "compare"):
        answer = growres("zoo", verb, "lenet6")
        assert answer.code == 2
        assert f"Cannot {verb} lenet6" in answer.err and "lenet5" in answer.err


def test_a_depth_that_no_network_has_names_its_neighbours(growres):
    answer = growres("zoo", "list", "resnet27")
    assert answer.code == 2
    assert "the nearest are resnet26 and resnet32" in answer.err


# ------------------------------------------------------------------------------------------------------------- show


def test_a_network_is_shown_layer_by_layer_in_parts_and_explained(growres):
    out = growres("zoo", "show", "lenet5").out
    assert "lenet5: LeNet-5, 1998" in out
    assert "60,000 parameters, 326,520 MACs, 340,908 connections" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["c1", "conv", "5x5", "6x28x28", "156", "122,304", "117,600", "5x5"] in lines
    assert ["s2", "subsampling", "2x2", "/", "2", "6x14x14", "12", "5,880", "0", "6x6"] in lines
    assert ["total", "60,000", "340,908", "326,520", "32x32"] in lines
    assert ["c5", "120x1x1", "48,120", "80.20%", "48,000", "14.70%", "32x32"] in lines
    assert "recipe: paper (20 passes" in out and "optimizer: {name: sdlm, lr: 0.0005" in out
    assert "1. One small detector, used everywhere" in out
    assert ["C1", "122,304", "156", "784.0x"] in lines


def test_the_users_own_images_are_what_is_counted(growres):
    document = growres(
        "zoo", "show", "resnet18", "--image-size", "28", "--channels", "1", "--classes", "7", "--format", "json"
    ).json
    assert document["input_shape"] == [1, 28, 28] and document["num_classes"] == 7
    assert document["settings"]["small_input"] is True
    assert document["layers"][-1]["output_shape"] == [7]
    assert sum(layer["num_params"] for layer in document["layers"]) == document["num_params"]
    assert sum(part["macs"] for part in document["parts"]) == document["macs"]
    assert [claim["title"] for claim in document["claims"]][0] == "A way for the gradient around every block"


def test_arguments_are_set_and_wrong_ones_refused(growres):
    shape = ("--set", "blocks=[1, 1]", "--set", "widths=[8, 16]")
    document = growres("zoo", "show", "resnet", *shape, "--set", "h=dropout", "--format", "json").json
    assert document["settings"]["blocks"] == [1, 1] and document["settings"]["h"] == "dropout"
    assert "give it one, as in --set 'blocks=[2, 2]'" in growres("zoo", "show", "resnet").err.lower()
    assert "no argument 'wdth'" in growres("zoo", "show", "vgg16", "--set", "wdth=2").err
    for reserved in ("num_classes", "in_channels", "image_size", "name"):
        answer = growres("zoo", "show", "vgg16", "--set", f"{reserved}=3")
        assert answer.code == 2 and f"no argument '{reserved}'" in answer.err
    assert "must be KEY=VALUE" in growres("zoo", "show", "vgg16", "--set", "width").err
    answer = growres("zoo", "show", "vgg16", "--image-size", "8")
    assert answer.code == 2 and "8x8 are too small for vgg16, whose smallest are 17x17" in answer.err


def test_csv_has_every_layer_and_markdown_every_section(growres):
    rows = list(csv.DictReader(io.StringIO(growres("zoo", "show", "plain20", "--format", "csv").out)))
    assert len(rows) == 40 and rows[0]["name"] == "stem.conv"
    out = growres("zoo", "show", "plain20", "--format", "md").out
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        "## plain20: Plain twin of ResNet of 20 layers for small images, 2015",
        "## Layers",
        "## Parts",
        "## Recipes of training",
        "## What it brought, and why that works",
    ]


def layer(name, part, params=1, shape=(1, 2, 2)):
    return {
        "name": name, "part": part, "kind": "conv", "output_shape": shape, "num_params": params, "connections": 2,
        "macs": 3, "receptive_field": (1, 1),
    }  # fmt: skip


def test_like_blocks_are_told_once_and_nothing_is_lost():
    rows = [layer("stem", "stem", params=9)]
    rows += [layer(f"stages.0.{block}.conv{n}", "stage0", params=n) for block in range(5) for n in (1, 2)]
    rows += [layer("head", "head", params=7)]
    told = folded(rows)
    assert [row["name"] for row in told] == [
        "stem",
        "stages.0.0.conv1",
        "stages.0.0.conv2",
        "... to stages.0.4",
        "head",
    ]
    assert told[3]["kind"] == "4 times more the same 2 layers"
    for key in ("num_params", "connections", "macs"):
        assert sum(row[key] for row in told) == sum(row[key] for row in rows)


def test_blocks_that_differ_are_not_folded():
    rows = [layer(f"block1.layers.{n}.conv", "block1", params=n) for n in range(6)]
    assert folded(rows) == rows
    other_shapes = [layer(f"stages.0.{n}.conv", "stage0", shape=(1, n, n)) for n in range(6)]
    assert folded(other_shapes) == other_shapes


@pytest.mark.parametrize("name", ["resnet56", "preact_resnet164", "inception_v4", "vgg19", "densenet40_k12"])
def test_folded_layers_add_up_to_the_network(name):
    entry = zoo.describe(name)
    channels, size, _ = entry.input_shape
    counts = subject_of(name, {}, num_classes=10, in_channels=channels, image_size=size).counts
    told = folded([asdict(layer) for layer in counts.layers])
    assert sum(row["macs"] for row in told) == counts.macs
    assert sum(row["num_params"] for row in told) == counts.num_params
    if name in ("resnet56", "preact_resnet164"):
        assert len(told) < len(counts.layers) / 2


def test_every_layer_can_be_asked_for(growres):
    assert "more the same" not in growres("zoo", "show", "plain20", "--all-layers").out
    told = [
        line.split()[:3] for line in growres("zoo", "show", "plain20").out.splitlines() if "more the same 4" in line
    ]
    assert [name for _, _, name in told] == [f"stages.{stage}.2" for stage in range(3)]


@pytest.mark.parametrize(("name", "size"), [("lenet5", 8), ("vgg16", 32)])
def test_what_is_seen_agrees_between_layers_parts_and_total_and_is_never_more_than_the_image(growres, name, size):
    out = growres("zoo", "show", name, "--image-size", str(size)).out
    layers, parts = out[out.index("\nLayers\n") :].split("\nParts\n")
    *_, last, total = layers.strip().splitlines()
    *_, head = parts[: parts.index("\n\n")].splitlines()
    assert [line.split()[-1] for line in (last, total, head)] == [f"{size}x{size}"] * 3
    assert f"a value of the last map sees up to {size}x{size} pixels, which is all of them" in " ".join(out.split())


def test_what_one_has_to_know_of_a_network_is_said_at_its_head(growres):
    lenet = " ".join(growres("zoo", "show", "lenet5").out.split())
    assert "Every image is brought to 32x32 first" in lenet
    assert "7 layers that hold weights on the longest path (6 whose weights are trained, 1 with fixed codes)" in lenet
    assert "it has 265 layers that hold weights" in zoo.describe("densenet264").remark
    for name in ("vgg16_bn", "googlenet_torchvision"):
        assert "later release" in zoo.describe(name).title and "2015" in zoo.describe(name).remark
    assert zoo.describe("vgg16").remark == zoo.describe("googlenet").remark == zoo.describe("densenet121").remark == ""


def test_the_form_for_small_images_names_the_networks_own_size(growres):
    out = " ".join(growres("zoo", "show", "inception_v3", "--image-size", "28").out.split())
    assert "--image-size 299 shows the one for large images" in out


def test_an_argument_says_with_what_it_goes(growres):
    out = growres("zoo", "show", "resnet18").out
    assert "gate_bias: a number from -100 to 100; by default -6; only with h: exclusive_gating or" in out


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("name", ["resnet50", "preact_resnet164", "densenet40_k12", "googlenet", "inception_v3"])
def test_on_a_terminal_the_layers_stay_apart_and_nothing_is_wider_than_it(name, columns):
    entry = zoo.describe(name)
    channels, size, _ = entry.input_shape
    counts = subject_of(name, {}, num_classes=10, in_channels=channels, image_size=size).counts
    rows = folded([asdict(layer) for layer in counts.layers])
    lines = table_lines(rows, LAYER_COLUMNS, width=columns)
    assert max(map(len, lines)) <= columns
    names = [line.split("  ")[0] for line in lines if not line.startswith(" ")]
    assert len(set(names)) == len(names) == 1 + len(rows)


def test_on_a_terminal_every_section_fits_and_what_is_left_out_is_said():
    out = on_a_terminal(80, "zoo", "show", "vgg11", "--image-size", "32")
    assert [line for line in out.splitlines() if len(line) > 80] == []
    assert "small_input: true or false or auto; by default auto" in out
    assert "Cut or left out here: connections; --format md, or a pipe, has all." in out


def test_on_a_narrow_terminal_the_list_says_what_is_left_out():
    out = on_a_terminal(60, "zoo", "list", "vgg*")
    assert "Cut or left out here: year, protocol, source; --format md, or a pipe, has all." in out
    assert "zoo show vgg19_bn" in out and "GROWRES_HOME" not in out


def on_a_terminal(columns, *arguments):
    """What the command writes to a pseudo-terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"NO_COLOR": "1"}
    command = [sys.executable, "-m", "growres", *arguments]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        written = b""
        while True:
            try:
                written += (chunk := os.read(leader, 65536))
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
    os.close(leader)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


# ------------------------------------------------------------------------------------------------ compare, history


def test_networks_are_put_side_by_side_with_their_measured_speed(growres):
    answer = growres(
        "zoo", "compare", "lenet5", "resnet8", "plain8", "--image-size", "8", "--channels", "1", "--seconds", "0.1",
        "--batch-size", "8", "--format", "json",
    )  # fmt: skip
    rows = {row["name"]: row for row in answer.json}
    assert list(rows) == ["lenet5", "resnet8", "plain8"]
    assert rows["resnet8"]["num_params"] == rows["plain8"]["num_params"]
    assert (rows["resnet8"]["shortest_path"], rows["plain8"]["shortest_path"]) == (2, 8)
    assert all(row["images_per_s"] > 0 and row["device"] == "cpu" and row["batch_size"] == 8 for row in rows.values())
    assert "measuring plain8" in answer.err


def test_a_network_that_the_images_are_too_small_for_ends_the_comparison_before_it_is_measured(growres):
    answer = growres("zoo", "compare", "lenet5", "vgg11", "--image-size", "8")
    assert answer.code == 2 and "too small for vgg11" in answer.err and "measuring" not in answer.err


def test_a_network_without_a_shape_cannot_be_compared(growres):
    answer = growres("zoo", "compare", "lenet5", "resnet")
    assert answer.code == 2 and "Cannot compare resnet: it has no shape of its own" in answer.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_said(growres):
    answer = growres("zoo", "compare", "lenet5", "resnet8", "--gpu")
    assert answer.code == 2 and "PyTorch finds none here" in answer.err


@pytest.mark.parametrize("names", [["lenet5"], ["lenet5", "lenet5"]])
def test_a_comparison_needs_two_networks(growres, names):
    answer = growres("zoo", "compare", *names)
    assert answer.code == 2 and answer.err.startswith("growres: Cannot compare lenet5 with itself")


def test_the_history_is_a_table_and_a_picture(growres, tmp_path):
    answer = growres("zoo", "history", "-o", str(tmp_path / "history.svg"))
    assert "2012  SuperVision     AlexNet, 7 networks" in answer.out and "15.32%" in answer.out
    assert "One trained person: 5.10%" in answer.err
    assert (tmp_path / "history.svg").read_text().startswith("<?xml")
    rows = growres("zoo", "history", "--format", "json").json
    assert rows[0]["year"] == 2010 and rows[0]["top5_error"] == 0.2819


def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_printed(growres, tmp_path):
    answer = growres("zoo", "history", "-o", str(tmp_path / "history.pdf"))
    assert answer.code == 2 and answer.out == "" and ".svg or .png" in answer.err
