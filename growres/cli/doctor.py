"""`growres doctor`: what works on this machine, and what to do about the rest."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from growres import __version__
from growres.cli import figures
from growres.cli.tables import Column, Format, FormatOption, print_rows
from growres.errors import ConfigError, GrowresError
from growres.home import growres_home

if TYPE_CHECKING:
    from growres.store.database import Address

EXIT_SOMETHING_FAILED = 1
ENOUGH_DISK_BYTES = 2 * 10**9
PACKAGES = ("torch", "ray", "sqlalchemy", "alembic", "datasets", "pydantic", "numpy", "scikit-learn")
DASHBOARD_MODULES = ("aiohttp", "aiohttp_cors", "colorful", "opencensus", "prometheus_client")
LONGEST_SOCKET_PATH = 107
"""Bytes that Linux allows a Unix socket's path."""
SESSION_PATH = "/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
"""What Ray appends to its temporary folder for its longest socket."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


_COLUMNS = (
    Column(key="check"),
    Column(key="status"),
    Column(key="found", min_width=16),
    Column(key="advice", title="what to do", min_width=16),
)


def doctor(output: FormatOption = Format.TABLE) -> None:
    """Check versions, devices, disk, store and Ray; say what works and what to do about the rest."""
    checks = (_versions, _devices, _home, _store, _ray)
    findings = [finding for check in checks for finding in _examined(check)]
    print_rows([asdict(finding) for finding in findings], _COLUMNS, output)
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(EXIT_SOMETHING_FAILED)


def _examined(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A check that breaks down is itself a finding: what ails the machine must not silence the doctor."""
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:
        name = check.__name__.strip("_")
        found.append(Finding(name, "fail", f"the check itself failed: {type(error).__name__}: {error}"))
    return found


def _versions() -> Iterator[Finding]:
    from importlib import metadata

    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Finding("growres", "ok", __version__)
    for package in PACKAGES:
        try:
            yield Finding(package, "ok", metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, "fail", "not installed", f"pip install {package}, or install growres again")


def _devices() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    bf16 = "auto trains in bf16" if _auto_is_bf16("cpu") else "auto trains in fp32"
    yield Finding("cpu", "ok", f"{cores} cores, {torch.get_num_threads()} threads by default, {bf16}")
    if not torch.cuda.is_available():
        yield Finding("gpu", "ok", "none that PyTorch can use; trials run on the CPU")
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        precision = "auto trains in bf16" if _auto_is_bf16(f"cuda:{index}") else "auto trains in fp32"
        yield Finding(f"gpu {index}", "ok", f"{gpu.name}, {figures.num_bytes(gpu.total_memory)}, {precision}")


def _auto_is_bf16(device: str) -> bool:
    import torch

    from growres.config.experiment import SgdConfig, TrainingConfig
    from growres.training.precision import SMALLEST_IMAGE_FOR_BF16, choose_precision

    usual = TrainingConfig(optimizer=SgdConfig(name="sgd", lr=0.1))
    return choose_precision(usual, image_size=SMALLEST_IMAGE_FOR_BF16, device=torch.device(device)).bf16


def _home() -> Iterator[Finding]:
    try:
        home = growres_home()
    except ConfigError as error:
        yield Finding("GROWRES_HOME", "fail", str(error), "set GROWRES_HOME to a folder of yours")
        return
    if os.access(home, os.W_OK | os.X_OK):
        yield Finding("GROWRES_HOME", "ok", str(home))
    else:
        yield Finding("GROWRES_HOME", "fail", f"{home} cannot be written", "set GROWRES_HOME to a folder of yours")
    free_bytes = shutil.disk_usage(home).free
    found = f"{figures.num_bytes(free_bytes)} free in {home}"
    if free_bytes >= ENOUGH_DISK_BYTES:
        yield Finding("disk", "ok", found)
    else:
        yield Finding("disk", "warn", found, "free at least 2 GB, or set GROWRES_HOME to another disk")


def _store() -> Iterator[Finding]:
    from growres.store.database import resolve

    try:
        address = resolve(None)
        yield _no_file_yet(address) if address.is_sqlite and not address.path.exists() else _schema(address)
    except GrowresError as error:
        yield Finding("store", "fail", str(error), "see GROWRES_DATABASE_URL, and the file or server that it names")


def _no_file_yet(address: Address) -> Finding:
    folder = address.path.parent
    if folder.is_dir():
        return Finding("store", "ok", f"{address.for_people} is made with the first experiment")
    advice = "make the folder, or name another file in GROWRES_DATABASE_URL"
    return Finding("store", "fail", f"{address.for_people}: there is no folder {folder}", advice)


def _schema(address: Address) -> Finding:
    from growres.store.migration import FOR_A_NEWER_SCHEMA, current_revision, head_revision, revisions

    revision = current_revision()
    if revision == head_revision():
        return Finding("store", "ok", f"{address.for_people}, schema {revision}, {_row_counts()}")
    found = f"{address.for_people} has schema {revision or 'none'}; this growres needs {head_revision()}"
    if revision is not None and revision not in revisions():
        return Finding("store", "fail", f"{found}, and a newer one made it", FOR_A_NEWER_SCHEMA)
    return Finding("store", "warn" if address.embedded else "fail", found, "growres db upgrade")


def _row_counts() -> str:
    from growres.store.query import run_read_only

    tables = ("experiment", "trial", "epoch", "growth_step")
    sql = f"SELECT {', '.join(f'(SELECT count(*) FROM {table})' for table in tables)}"
    (counts,) = run_read_only(None, sql, timeout_s=10, max_rows=1).rows
    return f"rows: {', '.join(f'{table} {number:,}' for table, number in zip(tables, counts, strict=True))}"


def _ray() -> Iterator[Finding]:
    from importlib.util import find_spec

    try:
        import ray  # noqa: F401
    except ImportError as error:
        yield Finding("ray", "fail", f"cannot be imported: {error}", "pip install 'ray[default,tune]'")
        return
    # Of one that is imported already, find_spec may find nothing: colorful puts another module in its own place.
    missing = [module for module in DASHBOARD_MODULES if module not in sys.modules and find_spec(module) is None]
    if missing:
        yield Finding("ray dashboard", "warn", f"{', '.join(missing)} missing", "pip install 'ray[default]'")
    else:
        yield Finding("ray dashboard", "ok", "can be served")
    folder = _ray_folder()
    room = LONGEST_SOCKET_PATH - len(os.fsencode(folder)) - len(SESSION_PATH)
    if room >= 0:
        yield Finding("ray folder", "ok", str(folder))
    else:
        advice = "set RAY_TMPDIR to a short path such as /tmp"
        yield Finding("ray folder", "fail", f"{folder} is {-room} bytes too long for Ray's sockets", advice)
    yield from _tokens()
    if address := os.environ.get("RAY_ADDRESS"):
        advice = "to use that Ray, give its address: growres submit SPEC --address URL"
        yield Finding("RAY_ADDRESS", "warn", f"{address}; growres starts a Ray of its own all the same", advice)


def _tokens() -> Iterator[Finding]:
    """Whoever reads one runs code on the Ray that asks for it; Ray writes its own as the umask has it, often 0644."""
    from jobs.cluster import cluster_token_path, is_open_to_others, token_path

    for check, path in (("ray token", token_path(growres_home())), ("cluster token", cluster_token_path())):
        if is_open_to_others(path):
            yield Finding(check, "warn", f"others can read {path}", f"chmod 600 {shlex.quote(str(path))}")
        elif path.exists():
            yield Finding(check, "ok", f"{path}, readable by its owner alone")


def _ray_folder() -> Path:
    """Where Ray keeps its sessions: as Ray itself decides it."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"
