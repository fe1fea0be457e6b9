"""Where growres keeps its files: the folder GROWRES_HOME, by default ~/.growres."""

from __future__ import annotations

import os
from pathlib import Path


def growres_home() -> Path:
    """The folder that holds the SQLite store `growres.db`, data caches (`data/`) and runs (`runs/`); made if absent."""
    home = Path(os.environ.get("GROWRES_HOME") or Path.home() / ".growres").expanduser().absolute()
    home.mkdir(parents=True, exist_ok=True)
    return home
