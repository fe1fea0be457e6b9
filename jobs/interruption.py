"""What Ctrl-C does while a driver runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130


@contextmanager
def second_interrupt_exits() -> Iterator[None]:
    """The first Ctrl-C inside raises KeyboardInterrupt, as ever; a second one ends the process at once.

    Shutting Ray down takes seconds in which Python's own handler is not always heard. Nothing is lost: every event's
    checkpoint is on the disk, and a resume takes up trials that are still called running. Only the main thread can do
    this; elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def first(signal_number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, second)
        raise KeyboardInterrupt

    def second(signal_number: int, frame: FrameType | None) -> None:
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a live display had hidden it
        sys.stderr.write(f"{show_cursor}stopped at once\n")
        sys.stderr.flush()
        os._exit(EXIT_INTERRUPTED)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
