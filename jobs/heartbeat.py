"""A driver's sign of life in the store, every few seconds, and what it hears in answer."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from growres.errors import StoreError
from growres.store import RunRow, Store
from jobs.stopping import StopRequest

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 3.0
STOPPED = {"epoch": "growres stop", "now": "growres stop --now"}


@contextmanager
def heartbeat(store: Store, run: RunRow, stop: StopRequest) -> Iterator[None]:
    """The run gives signs of life inside, in a thread, so that neither a long epoch nor a slow Ray silences it.

    What is asked of the run in the store is passed on to `stop`: that it end, or that it is another driver's now.
    While the database is away it goes on trying.
    """
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(BEAT_EVERY_S):
            try:
                answer = store.runs.beat(run.experiment_id, run.run)
            except StoreError as error:
                logger.debug("run %d of %s gave no sign of life: %s", run.run, run.experiment_id, error)
                continue
            if is_over.is_set():
                return
            if not answer.is_mine:
                stop.ask("now", "another driver, which has taken over", superseded=True)
                return
            if answer.stop is not None:
                stop.ask(answer.stop, STOPPED[answer.stop])

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(timeout=2 * BEAT_EVERY_S)
