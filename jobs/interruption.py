"""What Ctrl-C does while a driver runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from growres.errors import EXIT_INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def second_interrupt_exits() -> Iterator[None]:
    """The first Ctrl-C inside raises KeyboardInterrupt, as ever; a second one ends the process at once.

    A SIGTERM, which is how service managers and batch systems end a process, counts as a Ctrl-C. Shutting Ray down
    takes seconds in which Python's own handler is not always heard. Nothing is lost by ending at once: every event's
    checkpoint is on the disk, and a resume takes up trials that are still called running. Only the main thread can do
    this; elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(signal_number: int, frame: FrameType | None) -> None:
        for number in _SIGNALS:
            signal.signal(number, second)
        raise KeyboardInterrupt

    def second(signal_number: int, frame: FrameType | None) -> None:
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a live display had hidden it
        sys.stderr.write(f"{show_cursor}stopped at once\n")
        sys.stderr.flush()
        os._exit(EXIT_INTERRUPTED)

    before = {number: signal.signal(number, first) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
