"""A Ray to run on: one of our own on this machine, closed to others, or somebody's that an address names.

Ray reads part of its environment when it is imported, so it is imported only where that has been set.
"""

from __future__ import annotations

import http.client
import ipaddress
import logging
import os
import secrets
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from growres.config.experiment import ResourcesConfig
from growres.errors import ClusterError, ConfigError

LOCAL = "local"
LOOPBACK = "127.0.0.1"

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
def ray_session(address: str | None, home: Path, *, dashboard_host: str = LOOPBACK) -> Iterator[str | None]:
    """Ray is there inside; yields the dashboard's URL where this call started it.

    Args:
        address: None or 'local' starts a Ray of our own, whatever RAY_ADDRESS says: its dashboard asks for a token.
            Any other address is joined. A Ray that this process has already is used.
        home: the token stands in `ray/auth_token` below it, readable by its owner alone.
        dashboard_host: where the dashboard of our own Ray listens; its other ports stay on 127.0.0.1 whatever it is.
    Raises:
        ClusterError: if Ray cannot be started or reached.
        ConfigError: if the dashboard is to listen beyond this machine and would not ask for the token, or if it is not
            ours to place; also if others can read the token and we cannot forbid it.
    """
    if not is_loopback(dashboard_host):
        _check_that_it_is_ours_to_place(dashboard_host, address)
    logging.getLogger("ray").setLevel(logging.ERROR)
    with _environment(_settings(address, home)):
        import ray

        if ray.is_initialized():
            yield None
            return
        if not is_loopback(dashboard_host):
            _check_that_the_token_will_be_asked_for(dashboard_host)
        try:
            url = _start(dashboard_host) if address in (None, LOCAL) else _join(str(address))
        except (OSError, RuntimeError, ValueError) as error:
            where = "start Ray on this machine" if address in (None, LOCAL) else f"reach the Ray cluster at {address}"
            raise ClusterError(
                f"Cannot {where}: {str(error).strip().rstrip('.') or type(error).__name__}. "
                f"See: growres doctor; without Ray, use: --backend inline"
            ) from error
        try:
            if not is_loopback(dashboard_host) and not asks_for_the_token(str(url)):
                raise ClusterError(f"Ray's dashboard at {url} does not ask for the token, so it was ended at once.")
            yield url
        finally:
            ray.shutdown()


def is_loopback(host: str) -> bool:
    """Whether what listens there is reached from this machine alone. A name other than localhost counts as open."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def asks_for_the_token(url: str, timeout_s: float = 5) -> bool:
    """Whether the dashboard turns away a caller without a token.

    Raises:
        OSError: if nothing answers there.
    """
    try:
        # Not through a proxy: what is asked is who can reach this very address.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(f"{url.rstrip('/')}/api/jobs/", timeout=timeout_s).close()
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except (http.client.HTTPException, ValueError) as error:  # something else answers, or the name cannot be one
        raise OSError(f"{url} is no dashboard: {error or type(error).__name__}") from error
    return False


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


def cluster_token_path() -> Path:
    """Where Ray itself looks for the token of a cluster that is joined, unless RAY_AUTH_TOKEN holds it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def is_open_to_others(path: Path) -> bool:
    """Whether the file's mode lets anyone but its owner read or write it; False where there is no such file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    except OSError:
        return False


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
    """A token stands there afterwards, readable by its owner alone, whatever the umask and whoever wrote it before."""
    if not path.exists():
        _write_token(path)
    if is_open_to_others(path):  # as Ray leaves the tokens that it writes itself, where the umask allows it
        try:
            path.chmod(0o600)
        except OSError as error:
            raise ConfigError(
                f"Others can read the token in {path}, and this user cannot forbid it: {error.strerror}. "
                f"Let RAY_AUTH_TOKEN_PATH name a file of your own, or have its owner run: chmod 600 {path}"
            ) from error
    return path


def _write_token(path: Path) -> None:
    """The token appears whole or not at all: another driver may be about to read it, or to write one itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with suppress(FileExistsError):
            os.link(unfinished, path)
    finally:
        unfinished.unlink()


def _check_that_it_is_ours_to_place(dashboard_host: str, address: str | None) -> None:
    if address not in (None, LOCAL):
        raise ConfigError(
            f"Cannot have the dashboard of the Ray at {address} listen on {dashboard_host}: whoever started that Ray "
            f"decides. Leave --dashboard-host out, or leave --address out to start a Ray of your own."
        )
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        raise ConfigError(
            f"Cannot have the dashboard listen on {dashboard_host}: this process has a Ray already. End that one first."
        )


def _check_that_the_token_will_be_asked_for(dashboard_host: str) -> None:
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    mode = os.environ.get("RAY_AUTH_MODE")
    # Unset, a Ray that ray.init starts asks for the token. Set, what counts is what it was when Ray was imported.
    if mode is not None and not is_token_auth_enabled():
        raise ConfigError(
            f"Cannot have Ray's dashboard listen on {dashboard_host}, which other machines reach: it would run "
            f"anyone's code without a token, because RAY_AUTH_MODE is {mode}, or was not token when Ray was imported. "
            f"Unset RAY_AUTH_MODE, or leave --dashboard-host out and use an ssh tunnel; see: growres dashboard"
        )


def _start(dashboard_host: str) -> str | None:
    import ray

    with _ports_on_loopback():
        context = ray.init(
            address=LOCAL,
            include_dashboard=True,
            dashboard_host=dashboard_host,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    (node,) = ray.nodes()
    if not is_loopback(str(node["NodeManagerAddress"])):
        ray.shutdown()
        raise RuntimeError(f"its ports would listen on {node['NodeManagerAddress']}, which other machines reach")
    return f"http://{context.dashboard_url}" if context.dashboard_url else None


@contextmanager
def _ports_on_loopback() -> Iterator[None]:
    """What RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 says, said also to a Ray that was imported before it was set."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


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
