"""`growres dashboard`: where Ray's dashboard is, how to reach it from elsewhere, and where its token stands."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

import typer

from growres.cli import figures
from growres.cli.experiments import open_store
from growres.cli.tables import Format, FormatOption, print_facts
from growres.cli.talk import command, say
from growres.errors import NotFoundError
from growres.home import growres_home

DEFAULT_PORT = 8265
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class Run(Protocol):
    """A driver's run of an experiment, as far as its dashboard goes."""

    @property
    def dashboard_url(self) -> str | None:
        """Of the Ray that it runs on, as that machine names it."""

    @property
    def host(self) -> str | None:
        """The machine of the driver."""

    @property
    def address(self) -> str | None:
        """The Ray that was joined; None for one that the driver started itself."""


@dataclass(frozen=True, slots=True)
class _AddressedRun:
    """What an address alone tells."""

    dashboard_url: str
    host: str | None
    address: str | None


def dashboard(
    experiment: Annotated[
        str | None,
        typer.Argument(metavar="[EXPERIMENT]", help="An id, a name, or latest; without it, whatever runs now."),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="URL", help="A dashboard that you know: http://HOST:8265")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Print where Ray's dashboard is, how to tunnel to it, and where its token stands."""
    print_dashboard(_at(address) if address is not None else _newest_run(experiment), output)


def print_dashboard(run: Run, output: Format) -> None:
    """Prints the address, the way there and the place of the token, never the token itself.

    Raises:
        NotFoundError: if the run has no dashboard.
    """
    if run.dashboard_url is None:
        raise NotFoundError(
            f"That run has no dashboard: it uses no Ray. Follow it with: {command()} status --watch; "
            f"a dashboard comes with --backend local or cluster"
        )
    facts = _facts(run, run.dashboard_url)
    print_facts(facts, output, show={"reachable": _reachable_in_words, "asks_for_token": _token_in_words})
    if facts["asks_for_token"] is False:
        say(
            f"growres: warning: the dashboard at {figures.text(run.dashboard_url)} asks for no token: whoever reaches "
            f"it can run code there. Start that Ray with RAY_AUTH_MODE=token"
        )
    path = facts["token_path"]
    if path is not None and _is_open_to_others(Path(path)):
        say(f"growres: warning: others can read the token. To forbid it: chmod 600 {shlex.quote(path)}")


def _facts(run: Run, url: str) -> dict[str, Any]:
    is_here = run.host is None or run.host == socket.gethostname()
    # A loopback address of another machine is nobody's here: what answers under it is not that dashboard.
    can_be_asked = is_here or not _is_on_loopback(url)
    asks = _asks_for_the_token(url) if can_be_asked else None
    path = _token_path(run)
    return {
        "dashboard": url,
        "host": run.host,
        "reachable": asks is not None if can_be_asked else None,
        "asks_for_token": asks,
        "tunnel": _tunnel(run, url),
        "token_path": path,
        "token_command": f"cat {shlex.quote(path)}" if path else None,
    }


def _asks_for_the_token(url: str) -> bool | None:
    """None where nothing answers."""
    from jobs.cluster import asks_for_the_token

    try:
        return asks_for_the_token(url)
    except OSError:
        return None


def _is_open_to_others(path: Path) -> bool:
    from jobs.cluster import is_open_to_others

    return is_open_to_others(path)


def _token_path(run: Run) -> str | None:
    """Where the token stands on this machine; None where the environment holds it, or none is here."""
    from jobs.cluster import LOCAL, cluster_token_path, token_path

    if "RAY_AUTH_TOKEN" in os.environ:
        return None
    ours, clusters = token_path(growres_home()), cluster_token_path()
    candidates = [ours, clusters] if run.address in (None, LOCAL) else [clusters, ours]
    return next((str(path) for path in candidates if path.is_file()), None)


def _tunnel(run: Run, url: str) -> str | None:
    """The command that brings the dashboard to a machine that does not reach it."""
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORT
    host = run.host if _is_on_loopback(url) else parts.hostname
    host = host or socket.gethostname()
    if not _HOST_NAME.fullmatch(host):  # from the store or the command line: nothing that ssh or a shell would obey
        return None
    return f"ssh -N -L {port}:127.0.0.1:{port} {host}"


def _is_on_loopback(url: str) -> bool:
    from jobs.cluster import is_loopback

    return is_loopback(urlsplit(url).hostname or "")


def _reachable_in_words(reachable: bool | None) -> str:
    if reachable is None:
        return "from its own machine alone; here, through the tunnel"
    return "yes" if reachable else "no: nothing answers"


def _token_in_words(asks: bool | None) -> str:
    return {True: "yes", False: "NO: whoever reaches it can run code there", None: figures.ABSENT}[asks]


def _at(address: str) -> Run:
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        seen = address.rpartition("@")[2]  # what stands before it may be a password
        raise typer.BadParameter(
            f"it must be http://HOST:PORT, as the dashboard's address (seen {seen!r})", param_hint="--address"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return _AddressedRun(f"{parts.scheme}://{host}:{port or DEFAULT_PORT}", host=None, address=url)


def _newest_run(experiment: str | None) -> Run:
    """The newest run that is not over, of this experiment or of any."""
    with open_store() as store:
        if experiment is None:
            found = max(store.runs.alive(), key=lambda run: run.submitted_at, default=None)
        else:
            found = store.runs.newest(store.find_experiment(experiment).id)
    if found is not None and found.is_open and not found.is_stale:
        if found.dashboard_url is None and (found.backend, found.address) == ("local", None):
            raise NotFoundError(f"The Ray of {found.experiment_id} is still starting. Ask again in half a minute.")
        is_job = found.job_id is not None and found.address is not None
        return dataclasses.replace(found, dashboard_url=found.address) if is_job else found
    which = "No experiment is running" if experiment is None else f"{experiment!r} is not running"
    raise NotFoundError(f"{which}. See: {command()} list; or name the dashboard with --address http://HOST:8265")
