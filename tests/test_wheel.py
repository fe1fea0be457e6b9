"""The wheel is whole: what an installed growres needs beside its code comes along."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("growres-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def growres(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the wheel's own growres; -P keeps the checkout out of its path."""
    program = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import growres; "
        f"assert growres.__file__.startswith({str(installed)!r}); "
        "from growres.cli.app import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        cwd=cwd,
        env={**os.environ, "GROWRES_HOME": str(cwd / "home")},
        capture_output=True,
        text=True,
    )


def test_presets_and_migrations_work_from_any_folder(installed: Path, tmp_path: Path) -> None:
    assert not (installed / "alembic").exists(), "a top-level alembic would hide the library"
    quick = ["variants.simons.growth.stop.max_blocks=3", "variants.simons.growth.seed_epochs=2", "seeds=[0]"]
    quick += ["variants.simons.growth.epochs_per_step=2", "variants.lenet5.training.epochs=2", "training.epochs=2"]
    overrides = [argument for setting in quick for argument in ("--set", setting)]
    submitted = growres(installed, tmp_path, "submit", "digits", "--backend", "inline", *overrides)
    assert submitted.returncode == 0, submitted.stderr
    shown = growres(installed, tmp_path, "results", "digits", "--format", "csv")
    assert shown.stdout.count("succeeded") == 3, shown.stdout
    checked = growres(installed, tmp_path, "db", "check")
    assert checked.returncode == 0, checked.stderr


def test_the_zoo_is_listed_with_its_counts_from_any_folder(installed: Path, tmp_path: Path) -> None:
    listed = growres(installed, tmp_path, "zoo", "list", "vgg16")
    assert "138.36M" in listed.stdout, listed.stderr


def test_the_deployment_files_come_along(installed: Path) -> None:
    here = {path.relative_to(ROOT) for path in (ROOT / "jobs" / "deploy").rglob("*") if path.is_file()}
    there = {path.relative_to(installed) for path in (installed / "jobs" / "deploy").rglob("*") if path.is_file()}
    assert len(here) > 5 and there == here
