"""How a figure is written for a person: errors as percentages, sizes and times in a unit that suits them.

Only tables use these; JSON and CSV carry the raw numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

ABSENT = "-"
"""What a table shows where there is no value."""


def text(value: object) -> str:
    """The value as it reads, on one line; control characters are escaped, so that no stored text drives a terminal."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return time(value)
    if isinstance(value, list | tuple):
        return " ".join(text(item) for item in value)
    words = f"{value:.4g}" if isinstance(value, float) else str(value)
    if words.isprintable():
        return words
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in words)


def lines(value: object) -> str:
    """The same of a text that may have several lines."""
    return "\n".join(text(line) for line in str(value).split("\n"))


def percent(fraction: float | None) -> str:
    """An error in [0, 1] as a percentage: 0.0209 is 2.09%."""
    return ABSENT if fraction is None else f"{100 * fraction:.2f}%"


def percent_with_spread(mean: float | None, std: float | None) -> str:
    """A mean error with its standard deviation, as in 2.09% +- 0.30; a single trial has no deviation to show."""
    if mean is None or std is None:
        return percent(mean)
    return f"{percent(mean)} +- {100 * std:.2f}"


def points(fraction: float | None) -> str:
    """A difference of errors in percentage points: 0.0072 is 0.72 pp; one too small for that has two digits."""
    if fraction is None:
        return ABSENT
    decimals = 2 if fraction == 0 else max(2, -1 - math.floor(math.log10(abs(fraction))))
    return f"{100 * fraction:.{decimals}f} pp"


def count(number: float | None) -> str:
    """A number of parameters or images: 950, 12.3k, 269.7k, 1.73M, 1.20B."""
    if number is None:
        return ABSENT
    if number >= 1e9:
        return f"{number / 1e9:.2f}B"
    if number >= 1e6:
        return f"{number / 1e6:.2f}M"
    return f"{number / 1e3:.1f}k" if number >= 1e3 else f"{number:.0f}"


def whole(number: float | None) -> str:
    """A number to the unit: 12,345."""
    return ABSENT if number is None else f"{number:,.0f}"


def number_of(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def shape(sizes: Sequence[int]) -> str:
    """The shape of a map or a layer's output: 64x56x56."""
    return "x".join(map(str, sizes))


def pixels(field: Sequence[int] | None) -> str:
    """A receptive field, high and wide, in pixels: 81x81."""
    return ABSENT if field is None else shape(field)


def decimal(number: float | None) -> str:
    """A number with four significant digits."""
    return ABSENT if number is None else f"{number:.4g}"


def flops(number: float | None) -> str:
    """Floating-point operations: 1.2 TFLOP."""
    return ABSENT if number is None else f"{_scaled(number, 1000.0, ' kMGTPEZ')}FLOP"


def num_bytes(number: float | None) -> str:
    """A size: 3.4 GiB."""
    if number is None:
        return ABSENT
    scaled = _scaled(number, 1024.0, " KMGTPE")
    return f"{scaled}B" if number < 1024 else f"{scaled}iB"


def _scaled(number: float, base: float, prefixes: str) -> str:
    index = 0
    while number >= base and index < len(prefixes) - 1:
        number /= base
        index += 1
    return f"{number:.0f} " if index == 0 else f"{number:.1f} {prefixes[index]}"


def seconds(number: float | None) -> str:
    """A time span: 0.35s, 12.3s, 1m 02s, 2h 05m."""
    if number is None:
        return ABSENT
    if number < 1:
        return f"{number:.2f}s"
    if number < 59.95:
        return f"{number:.1f}s"
    minutes, rest_s = divmod(round(number), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest_s:02d}s"


def time(moment: datetime | None) -> str:
    """A moment, in UTC, to the second."""
    return ABSENT if moment is None else f"{_in_utc(moment):%Y-%m-%d %H:%M:%S}"


def iso_time(moment: datetime) -> str:
    """A moment as ISO 8601 in UTC, for programs: 2026-01-31T12:00:00Z."""
    return _in_utc(moment).isoformat().replace("+00:00", "Z")


def _in_utc(moment: datetime) -> datetime:
    """Moments without a zone are UTC already: the store keeps no others."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
