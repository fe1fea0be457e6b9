"""Whether files changed, told by their content: the same files elsewhere, or touched, are still the same data."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from growres.errors import DataError


def digest_of(*parts: object) -> str:
    """20 hexadecimal characters that depend on the parts' representations alone."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=10).hexdigest()


def content_digest(root: Path, files: Sequence[Path], memo_folder: Path) -> str:
    """20 hexadecimal characters that depend on the files' names below `root` and on their content.

    What was read is remembered in `memo_folder` by path, size and modification time, so that a second call reads
    only what changed.

    Raises:
        DataError: if a file cannot be read.
    """
    memo_path = memo_folder / f"{digest_of(str(root))}.json"
    before = _read_memo(memo_path)
    after = {path.relative_to(root).as_posix(): _stamp_and_digest(path, root, before) for path in files}
    if after != before:
        write_json(memo_path, {"root": str(root), "files": after})
    return digest_of(sorted((name, digest) for name, (_, _, digest) in after.items()))


def write_json(path: Path, values: Any) -> None:
    """The file holds these values, whole: a reader sees what was there before or all of this."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(values))
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """The file's values, or None where there is no such file or it is damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


_Stamp = tuple[int, int, str]
"""A file's size, modification time in nanoseconds, and digest."""


def _read_memo(path: Path) -> dict[str, _Stamp]:
    memo = read_json(path)
    if not isinstance(memo, dict) or not isinstance(memo.get("files"), dict):
        return {}
    return {name: (stamp[0], stamp[1], stamp[2]) for name, stamp in memo["files"].items() if len(stamp) == 3}


def _stamp_and_digest(path: Path, root: Path, memo: dict[str, _Stamp]) -> _Stamp:
    try:
        status = path.stat()
        known = memo.get(path.relative_to(root).as_posix())
        if known is not None and known[:2] == (status.st_size, status.st_mtime_ns):
            return known
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}. Make it readable, or remove it.") from error
    return status.st_size, status.st_mtime_ns, digest
