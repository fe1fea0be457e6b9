"""Where growres keeps its files: the folder GROWRES_HOME, by default ~/.growres."""

from __future__ import annotations

import os
from pathlib import Path

from growres.errors import ConfigError


def growres_home() -> Path:
    """The folder that holds the SQLite store `growres.db`, data caches (`data/`) and runs (`runs/`); made if absent.

    Raises:
        ConfigError: if it is no folder and cannot be made one.
    """
    home = Path(os.environ.get("GROWRES_HOME") or Path.home() / ".growres").expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"Cannot use {home} for growres's files: {error.strerror}. "
            f"Set GROWRES_HOME to a folder that you can write to."
        ) from error
    return home


def run_folder(experiment_id: str) -> Path:
    """Where an experiment's checkpoints, test outputs, spool and log are.

    Raises:
        ConfigError: as `growres_home` does.
    """
    return growres_home() / "runs" / experiment_id
