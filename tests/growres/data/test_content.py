from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from growres.data.content import content_digest
from growres.errors import DataError


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "set"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1.png").write_bytes(b"one")
    (folder / "a" / "2.png").write_bytes(b"two")
    return folder


def digest(root: Path) -> str:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return content_digest(root, files, root.parent / "memo")


def test_the_same_content_elsewhere_or_touched_is_the_same(root, tmp_path):
    before = digest(root)
    os.utime(root / "a" / "1.png", (1, 1))
    assert digest(root) == before
    assert digest(Path(shutil.copytree(root, tmp_path / "copy"))) == before


def test_other_content_of_the_same_size_is_another_set(root):
    before = digest(root)
    (root / "a" / "1.png").write_bytes(b"uno")
    os.utime(root / "a" / "1.png", (2, 2))
    assert digest(root) != before


def test_a_renamed_or_added_file_makes_another_set(root):
    before = digest(root)
    (root / "a" / "1.png").rename(root / "a" / "3.png")
    renamed = digest(root)
    (root / "a" / "4.png").write_bytes(b"four")
    assert len({before, renamed, digest(root)}) == 3


def test_unchanged_files_are_not_read_again(root):
    before = digest(root)
    stamp = (root / "a" / "1.png").stat()
    (root / "a" / "1.png").write_bytes(b"uno")  # behind its back: the size and the time stay
    os.utime(root / "a" / "1.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert digest(root) == before


def test_a_damaged_memo_is_ignored(root):
    before = digest(root)
    for memo in (root.parent / "memo").iterdir():
        memo.write_text('{"files": [')
    assert digest(root) == before


def test_a_file_that_is_gone_is_named(root):
    with pytest.raises(DataError, match=r"Cannot read .*absent.png: No such file"):
        content_digest(root, [root / "absent.png"], root.parent / "memo")
