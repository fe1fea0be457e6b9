"""A Ray to run on: one of our own on this machine, closed to others, or somebody's that an address names.

Ray reads part of its environment when it is imported, so it is imported only where that has been set.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growres.config.experiment import ResourcesConfig
from growres.errors import ClusterError

LOCAL = "local"

# Activations of a few megabytes would be returned to the kernel and faulted in again at every step; kept by glibc,
# they made a CIFAR-sized training step 5 to 20 % faster on a CPU. Read by a process when it starts.
ALLOCATOR_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
}

# Nothing but small events goes through Ray's object store; this is close to the least that it takes.
_OBJECT_STORE_BYTES = 100 * 1024**2


@contextmanager
def ray_session(address: str | None, home: Path, *, dashboard_host: str = "127.0.0.1") -> Iterator[str | None]:
    """Ray is there inside; yields the dashboard's URL where this call started it.

    Args:
        address: None or 'local' starts a Ray of our own, whatever RAY_ADDRESS says: its dashboard listens on
            127.0.0.1 and asks for a token. Any other address is joined. A Ray that this process has already is used.
        home: the token stands in `ray/auth_token` below it, readable by its owner alone.
    Raises:
        ClusterError: if Ray cannot be started or reached.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    with _environment(_settings(address, home)):
        import ray

        if ray.is_initialized():
            yield None
            return
        try:
            url = _start() if address in (None, LOCAL) else _join(str(address))
        except (OSError, RuntimeError, ValueError) as error:
            where = "start Ray on this machine" if address in (None, LOCAL) else f"reach the Ray cluster at {address}"
            raise ClusterError(
                f"Cannot {where}: {str(error).strip() or type(error).__name__}. "
                f"See: growres doctor; without Ray, use: --backend inline"
            ) from error
        try:
            yield url
        finally:
            ray.shutdown()


def check_resources(resources: ResourcesConfig) -> None:
    """Returns if one trial fits into the cluster at all; Tune would otherwise wait for ever.

    Raises:
        ClusterError: naming what is asked for and what there is.
    """
    import ray

    cluster = ray.cluster_resources()
    for kind, wanted in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
        if wanted > cluster.get(kind, 0):
            raise ClusterError(
                f"A trial asks for {wanted:g} {kind}s (resources.{kind.lower()}s_per_trial), and Ray has "
                f"{cluster.get(kind, 0):g}. Ask for less, or use a larger machine or cluster."
            )


def token_path(home: Path) -> Path:
    """Where the token for the dashboard of our own Ray stands, unless the environment names another."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or home / "ray" / "auth_token")


def _settings(address: str | None, home: Path) -> dict[str, str]:
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a banner on stdout however silent it is told to be
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        # Ctrl-C is ours: every event's checkpoint is on the disk already, so nothing has to be waited for.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "600",
    }
    if address in (None, LOCAL):
        settings |= ALLOCATOR_ENVIRONMENT
        # Ray's switch for systems whose firewalls ask: every one of its ports is then on 127.0.0.1, the metrics too.
        settings["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        if "ray" not in sys.modules:  # otherwise too late to say so, and Ray's own default is the same
            settings["RAY_AUTH_MODE"] = "token"
        if "RAY_AUTH_TOKEN" not in os.environ:
            settings["RAY_AUTH_TOKEN_PATH"] = str(_ensure_token(token_path(home)))
    return settings


def _ensure_token(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
    return path


def _start() -> str | None:
    import ray

    context = ray.init(
        address=LOCAL,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=_OBJECT_STORE_BYTES,
    )
    return f"http://{context.dashboard_url}" if context.dashboard_url else None


def _join(address: str) -> str | None:
    import ray

    context = ray.init(
        address=address,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": ALLOCATOR_ENVIRONMENT},
    )
    return f"http://{context.dashboard_url}" if context.dashboard_url else None


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """These variables set inside, unless the user set them, and as they were afterwards."""
    before = {name: os.environ.get(name) for name in settings}
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                os.environ.pop(name, None)
