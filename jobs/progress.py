"""What a driver tells whoever watches; the command line draws it, tests and scripts may leave it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from growres.events import Event


class Progress(Protocol):
    """Told of everything that a driver sees; it must not raise."""

    def started(
        self, experiment_id: str, name: str, trials: Sequence[tuple[str, str, int]], dashboard_url: str | None
    ) -> None:
        """The driver begins with these trials: (trial_id, variant, seed) each."""
        ...

    def event(self, trial_id: str, event: Event) -> None:
        """Something happened in a trial."""
        ...

    def note(self, message: str) -> None:
        """Something worth a line to a person."""
        ...

    def detail(self, trial_id: str, text: str) -> None:
        """A trial's traceback, or whatever else only who looks for a fault wants to read."""
        ...

    def close(self) -> None:
        """The driver is done."""
        ...


class Silence:
    """Watches nothing."""

    def started(
        self, experiment_id: str, name: str, trials: Sequence[tuple[str, str, int]], dashboard_url: str | None
    ) -> None:
        """Nothing."""

    def event(self, trial_id: str, event: Event) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""

    def detail(self, trial_id: str, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
