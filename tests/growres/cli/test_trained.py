import csv
import io
import json

import pytest
import torch
from PIL import Image


@pytest.fixture
def picture(tmp_path):
    """Writes an image file of this name and gives its path."""

    def write(name: str = "digit.png") -> str:
        Image.linear_gradient("L").resize((20, 30)).save(tmp_path / name, "PNG")
        return str(tmp_path / name)

    return write


def test_predict_gives_a_line_for_each_file(growres, trained, picture):
    files = [picture("a.png"), picture("b.png")]
    lines = growres("predict", "latest-1", *files).out.splitlines()
    assert lines[0].split("  ")[0] == "file" and len(lines) == 3
    rows = growres("predict", f"{trained}-1", *files, "--top", "3", "--format", "json").json
    assert [row["file"] for row in rows] == files
    assert list(rows[0]) == ["file", "class", "probability", "class_2", "probability_2", "class_3", "probability_3"]
    assert 1 >= rows[0]["probability"] >= rows[0]["probability_2"] >= rows[0]["probability_3"] >= 0


def test_more_classes_than_there_are_is_all_of_them(growres, trained, picture):
    answer = growres("predict", f"{trained}-1", picture(), "--top", "99", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(answer.out))
    assert sum(float(value) for key, value in row.items() if key.startswith("probability")) == pytest.approx(1)


def test_a_bad_file_is_a_line_on_stderr_and_the_others_are_classified(growres, trained, picture, tmp_path):
    bad = tmp_path / "bad\x1b[31m.png"
    bad.write_text("no image")
    answer = growres("predict", f"{trained}-1", str(bad), picture(), str(tmp_path))
    assert answer.code == 1
    assert len(answer.out.splitlines()) == 2
    first, second = answer.err.splitlines()
    assert "bad\\x1b[31m.png: it is no image" in first and "Is a directory" in second
    assert "\x1b" not in answer.err + answer.out


def test_class_and_file_names_never_drive_the_terminal(growres, trained, home, picture, tmp_path):
    exported = tmp_path / "net.pt"
    assert growres("export", f"{trained}-1", "-o", str(exported)).code == 0
    state = torch.load(exported, weights_only=True)
    state["images"]["class_names"] = [f"\x1b[2J{name}" for name in range(10)]
    torch.save(state, exported)
    answer = growres("predict", str(exported), picture("x\x1b]0;y.png"))
    assert answer.code == 0
    assert "\\x1b[2J" in answer.out and "\x1b" not in answer.out


def test_export_says_what_it_wrote_and_overwrites_only_with_force(growres, trained, tmp_path, picture):
    file = str(tmp_path / "net.pt")
    answer = growres("export", "tiny-1", "-o", file)
    assert (answer.code, answer.out) == (0, "")
    assert "net.pt: " in answer.err and "images 1x8x8 in [0, 1] -> 10 classes" in answer.err
    refused = growres("export", "tiny-1", "-o", file)
    assert refused.code == 2 and "--force" in refused.err
    assert growres("export", "tiny-1", "-o", file, "--force").code == 0
    from_file, from_store = (
        growres("predict", model, picture(), "--format", "json").json for model in (file, "tiny-1")
    )
    assert from_file == from_store


def test_a_trial_that_is_not_there_is_one_line(growres, trained, picture, tmp_path):
    for answer in (growres("predict", "tyni-1", picture()), growres("export", "tyni-1", "-o", str(tmp_path / "n.pt2"))):
        assert (answer.code, answer.out) == (2, "")
        assert "'tiny'" in answer.err and answer.err.count("\n") == 1


def test_a_trained_network_is_one_json_document(growres, trained, picture):
    json.loads(growres("predict", f"{trained}-2", picture(), "--format", "json").out)
