"""The figures that growres has to reach, by the name of the row that shows them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A figure that is better when it is larger."""

    limit: float

    def is_met_by(self, figure: float) -> bool:
        return figure >= self.limit

    def __str__(self) -> str:
        return f">= {self.limit:,g}"


@dataclass(frozen=True, slots=True)
class AtMost:
    """A figure that is better when it is smaller."""

    limit: float

    def is_met_by(self, figure: float) -> bool:
        return figure <= self.limit

    def __str__(self) -> str:
        return f"<= {self.limit:,g}"


Target = AtLeast | AtMost

TARGETS: dict[str, Target] = {
    "loop, 32x32": AtLeast(0.98),
    "loop, digits": AtLeast(0.9),
    "defaults": AtLeast(2.2),
    "submit": AtMost(0.75),
    "report": AtMost(10),  # ms
    "recorder": AtLeast(2_000),  # rows/s
    "results --by trial": AtMost(0.5),  # s
    "results --by variant": AtMost(0.5),  # s
    "help": AtMost(0.4),  # s
    "append": AtMost(15),  # ms
}
