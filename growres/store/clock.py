"""The time as the store records it: UTC, and within a process never earlier than what it was before.

A machine's clock may be set back while trials run: by its user, by NTP, by a host that moves a virtual machine. So it
is read once, and from there on a clock that knows no date and only goes forward tells how much later it is.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


def _elapsed_s() -> float:
    """Seconds since some moment, those included in which the machine slept, where the system counts them."""
    counts_sleep = getattr(time, "CLOCK_BOOTTIME", None)  # Linux, whose monotonic clock stands still meanwhile
    return time.monotonic() if counts_sleep is None else time.clock_gettime(counts_sleep)


_STARTED_AT = datetime.now(UTC)
_STARTED_S = _elapsed_s()


def now() -> datetime:
    """The present moment."""
    return _STARTED_AT + timedelta(seconds=_elapsed_s() - _STARTED_S)
