"""Sending this installation's code along with a job, to a cluster whose image has other code or none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import growres
import jobs
import zoo
from growres.store.migration import migrations_folder

_UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc")


@contextmanager
def shipped_code() -> Iterator[Path]:
    """A folder with the packages zoo, growres and jobs, migrations inside growres as in a wheel; gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="growres-code-") as name:
        folder = Path(name)
        for package in (zoo, growres, jobs):
            assert package.__file__ is not None
            source = Path(package.__file__).parent
            shutil.copytree(source, folder / source.name, ignore=_UNWANTED)
        migrations = folder / "growres" / "migrations"
        if not migrations.exists():
            shutil.copytree(migrations_folder(), migrations, ignore=_UNWANTED)
        yield folder
