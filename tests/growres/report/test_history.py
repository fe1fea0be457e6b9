from __future__ import annotations

import sys
from pathlib import Path

import pytest
from PIL import Image

from growres.cli import figures
from growres.errors import ConfigError
from growres.report.drawing import check_picture_path
from growres.report.history import draw_history
from zoo.history import WINNERS


def test_the_picture_names_every_winner_and_its_error(tmp_path: Path) -> None:
    draw_history(tmp_path / "history.svg")
    text = (tmp_path / "history.svg").read_text()
    for winner in WINNERS:
        assert figures.percent(winner.top5_error) in text and str(winner.year) in text
    assert "top-5 error on test (%)" in text and "person, 5.10%" in text
    assert "no one depth" in text, "2016 has no point"


def test_equal_pictures_are_equal_files(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw_history(tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_png_is_large_enough_to_show(tmp_path: Path) -> None:
    draw_history(tmp_path / "history.png")
    with Image.open(tmp_path / "history.png") as picture:
        assert picture.width > 1000 and picture.height > 700


@pytest.mark.parametrize(
    ("name", "words"), [("history.gif", "a picture is .svg or .png"), ("no/such.png", "no folder")]
)
def test_a_file_that_cannot_be_drawn_is_refused_first(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_picture_path(tmp_path / name)


def test_without_matplotlib_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'growres\[figures\]'"):
        check_picture_path(tmp_path / "history.png")
