"""Asking a driver to stop: from its terminal, by a signal, or through the store from any machine."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from growres.errors import EXIT_INTERRUPTED
from growres.store import Stop

_SIGNALS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the end of its terminal"}


class StopRequest:
    """What a driver has been asked, by whichever thread; a driver looks at it after every event.

    `epoch` lets the epochs under way end; `now` ends the driver's main thread where it stands, by KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.how: Stop | None = None
        self.by = ""
        """Who asked, in words: 'Ctrl-C', 'growres stop'."""
        self.is_superseded = False
        """Whether another driver has the experiment now, so that nothing more may be written of it."""
        self.is_settling = False
        """Whether the run is over and its end is being written down, which no request cuts off any more."""
        self._hears_signals = False
        self._has_heard_one = False
        self._is_own_signal = False
        self.is_hurried = False
        """Whether a signal came while the end was being written down: whoever sent it may send SIGKILL soon."""

    @property
    def reason(self) -> str:
        return f"stopped by {self.by}"

    def ask(self, how: Stop, by: str, *, superseded: bool = False) -> None:
        """Asks for a stop. `now` goes before `epoch`, and the first who asks is remembered."""
        self.is_superseded |= superseded
        if self.is_settling or self.how == "now" or self.how == how:
            return
        self.how, self.by = how, by
        if how == "now" and self._hears_signals and threading.current_thread() is not threading.main_thread():
            self._is_own_signal = True
            os.kill(os.getpid(), signal.SIGINT)

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM inside asks to stop now and raises KeyboardInterrupt; a second ends the process.

        SIGTERM is how service managers, batch systems and `ray job stop` end a process. Shutting Ray down takes
        seconds in which Python's own handler is not always heard. Nothing is lost by ending at once: every event's
        checkpoint is on the disk, and a resume takes up trials that are still called running. Only the main thread
        can do this; elsewhere nothing changes.
        """
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.hear_signals()
        try:
            yield
        finally:
            if self._hears_signals:
                self._hears_signals = False
                for number, handler in before.items():
                    signal.signal(number, handler)

    def hear_signals(self) -> None:
        """Puts the handlers in place, once more where Ray, when it started, has put its own there."""
        if threading.current_thread() is threading.main_thread():
            self._hears_signals = True
            for number in _SIGNALS:
                is_ignored = signal.getsignal(number) is signal.SIG_IGN
                if number is not signal.SIGHUP or not is_ignored:  # nohup has it ignored
                    signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._is_own_signal:
            self._is_own_signal = False
            if not self.is_settling:
                raise KeyboardInterrupt
            return
        if self._has_heard_one:
            _exit_at_once()
        self._has_heard_one = True
        if self.is_settling:
            self.is_hurried = True
        elif self.how != "now":  # otherwise it is under way, and must not be cut off
            self.ask("now", _SIGNALS[signal.Signals(number)])
            raise KeyboardInterrupt


def _exit_at_once() -> None:
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a live display had hidden it
    sys.stderr.write(f"{show_cursor}stopped at once\n")
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)
