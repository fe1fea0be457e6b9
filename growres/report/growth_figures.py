"""All pictures of one growth: which there are, by name, and which cannot be drawn of it and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from growres.errors import ConfigError
from growres.report.decay import MeasuredNetwork, Scale, draw_decay
from growres.report.drawing import SUFFIXES
from growres.report.evidence import ALL, Boosting, Decay, Evidence, Omitted
from growres.report.growth import StoredGrowth, value_of
from growres.report.growth_pictures import draw_boosting, draw_error_against_flops, draw_proposals

_DECAY_SCALES: dict[str, Scale] = {"": "linear", "-semi-log": "semi-log", "-log-log": "log-log"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was written, and the names of the pictures that were not, with the reason."""

    files: list[Path]
    omitted: dict[str, str]


def draw_growth(folder: Path, growth: StoredGrowth, evidence: Evidence) -> Drawn:
    """Writes every picture that can be drawn, as SVG and as PNG, into a folder, which is made if absent.

    Raises:
        ConfigError: if matplotlib is not installed, or the folder or a file in it cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"Cannot make the folder {folder}: {error.strerror}. Name another with -o.") from error
    drawn = Drawn(files=[], omitted={})
    for name, draw in _pictures(growth, evidence).items():
        if isinstance(draw, Omitted):
            drawn.omitted[name] = draw.reason
            continue
        for suffix in SUFFIXES:
            path = folder / f"{name}{suffix}"
            draw(path)
            drawn.files.append(path)
    return drawn


def draw_decay_of(path: Path, growth: StoredGrowth, decay: Decay, *, scale: Scale = "linear") -> None:
    """Draws the error or loss of all proposals against blocks, with the laws fitted to them.

    Raises:
        ConfigError: if matplotlib is not installed or the file cannot be written.
    """
    networks = [
        MeasuredNetwork(
            num_blocks=one.num_blocks or 0,
            value=value_of(one, decay.quantity) or 0.0,
            variance=variance,
            verdict=_shown(one.verdict),
        )
        for one, variance in zip(decay.networks, decay.variances, strict=True)
    ]
    draw_decay(path, decay.analysis, networks, title=title_of(growth, f"{decay.quantity} against blocks"), scale=scale)


def title_of(growth: StoredGrowth, what: str) -> str:
    """`simons, seed 0 (k3f9xa-1): error against blocks`."""
    return f"{growth.trial.variant}, seed {growth.trial.seed} ({growth.trial.id}): {what}"


Draw = Callable[[Path], None]


def _pictures(growth: StoredGrowth, evidence: Evidence) -> dict[str, Draw | Omitted]:
    decay = evidence.decay["error", ALL]
    pictures: dict[str, Draw | Omitted] = {
        f"error-against-blocks{name}": decay if isinstance(decay, Omitted) else _decay_drawer(growth, decay, scale)
        for name, scale in _DECAY_SCALES.items()
    }
    pictures["error-against-flops"] = _flops_drawer(growth)
    pictures["boosting"] = (
        evidence.boosting if isinstance(evidence.boosting, Omitted) else _boosting_drawer(growth, evidence.boosting)
    )
    pictures["proposals"] = _proposals_drawer(growth)
    return pictures


def _decay_drawer(growth: StoredGrowth, decay: Decay, scale: Scale) -> Draw:
    return lambda path: draw_decay_of(path, growth, decay, scale=scale)


def _flops_drawer(growth: StoredGrowth) -> Draw | Omitted:
    num_images, title = growth.num_validation_images, title_of(growth, "error against FLOPs")
    if num_images is None or growth.networks[0].train_flops_total is None:
        return Omitted("the store does not say how many FLOPs, or validation images, there were")
    return lambda path: draw_error_against_flops(path, growth.networks, num_images=num_images, title=title)


def _boosting_drawer(growth: StoredGrowth, boosting: Boosting) -> Draw:
    title = title_of(growth, "boosting on the training images")
    return lambda path: draw_boosting(path, boosting.analysis, title=title)


def _proposals_drawer(growth: StoredGrowth) -> Draw | Omitted:
    num_images, title = growth.num_validation_images, title_of(growth, "proposals and verdicts")
    if num_images is None or len(growth.networks) == 1:
        return Omitted("nothing was proposed yet")
    return lambda path: draw_proposals(path, growth.networks, num_images=num_images, title=title)


def _shown(verdict: str) -> Literal["start", "accepted", "rejected"]:
    match verdict:
        case "start":
            return "start"
        case "accepted":
            return "accepted"
        case _:
            return "rejected"
