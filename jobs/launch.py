"""How a run of an experiment is started: where, on which Ray, by which process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from growres.errors import ConfigError
from growres.store import Store
from jobs.cluster import LOCAL, LOOPBACK, is_loopback

Backend = Literal["inline", "local", "cluster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a run is started."""

    backend: Backend = "local"
    address: str | None = None
    """cluster: of the dashboard, http://head:8265; local: of a running Ray to use in place of one of its own."""
    detach: bool = False
    """Leave a driver behind that outlives this process. A cluster's drivers always do."""
    ship_code: bool = False
    """Send the packages zoo, growres and jobs along with a cluster's job."""
    needed: bool = False
    """Skip trials whose like the store has finished already."""
    dashboard_host: str = LOOPBACK
    """Where the dashboard of an own Ray listens."""

    def check(self) -> None:
        """Returns if it makes sense.

        Raises:
            ConfigError: naming the option that does not go with the backend.
        """
        match self.backend:
            case "cluster" if self.address is None:
                raise ConfigError(
                    "Cannot submit to a cluster without its address. Name its dashboard: --address http://HEAD:8265"
                )
            case "inline" if self.address is not None:
                raise ConfigError("The backend inline starts no Ray: leave --address out, or use --backend local.")
        if self.address is not None and self.address not in ("auto", LOCAL):
            _check_address(self.address)
        if not is_loopback(self.dashboard_host) and (self.backend != "local" or self.address not in (None, LOCAL)):
            raise ConfigError(
                f"Cannot have the dashboard listen on {self.dashboard_host}: only that of a Ray which this run starts "
                f"itself is ours to place. Leave --dashboard-host out, or run with --backend local and no --address."
            )
        if self.ship_code and self.backend != "cluster":
            raise ConfigError("Only a cluster can be sent code: leave --ship-code out, or use --backend cluster.")


def _check_address(address: str) -> None:
    """It is kept in the store and shown: a password in it would be, too."""
    try:
        parts = urlsplit(address if "//" in address else f"//{address}")
        is_one = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_one, parts = False, urlsplit("")
    if not is_one or parts.username is not None:
        seen = address.rpartition("@")[2]
        raise ConfigError(
            f"Cannot use the address {seen!r}: it must be http://HOST:PORT, without a user or a password."
        )


def launch_of_newest_run(reference: str) -> Launch:
    """How an experiment was run last, to be run so again.

    Raises:
        NotFoundError: if there is no such experiment.
    """
    with Store.open() as store:
        run = store.runs.newest(store.find_experiment(reference).id)
    if run is None:
        return Launch()
    assert run.backend in get_args(Backend), "the store has what a Launch had"
    return Launch(backend=cast(Backend, run.backend), address=run.address)
