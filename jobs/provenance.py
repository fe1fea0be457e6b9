"""Where a result comes from: the code, the packages, the machine."""

from __future__ import annotations

import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import growres
from growres.data.images import ImageData

_PACKAGES = ("torch", "ray", "numpy", "sqlalchemy", "datasets", "pydantic", "scikit-learn")


def provenance(images: ImageData, device: str | None) -> dict[str, Any]:
    """What an experiment keeps beside its file, as plain data."""
    return {
        "host": socket.gethostname(),
        "device": device,
        "versions": {
            "growres": growres.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES},
        },
        "data_fingerprint": images.fingerprint,
        "data_splits": {
            "train": len(images.train),
            "validation": len(images.validation),
            "test": len(images.test),
        },
        **_git(),
    }


def _git() -> dict[str, Any]:
    """The commit of the checkout that growres runs from; None where it runs from an installed wheel."""
    root = Path(growres.__file__).parent.parent
    try:
        tracked = _run_git(root, "ls-files", "growres/__init__.py")
        if not tracked:
            return {"git_commit": None, "git_dirty": None}
        return {
            "git_commit": _run_git(root, "rev-parse", "HEAD"),
            "git_dirty": bool(_run_git(root, "status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return {"git_commit": None, "git_dirty": None}


def _run_git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
