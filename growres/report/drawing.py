"""What all pictures have in common: matplotlib where it is installed, colours for the colour-blind, files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from growres.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")
DPI = 160

# Okabe and Ito's palette, told apart with every kind of colour vision, and by its lightness in print.
BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#767676"


def check_picture_path(path: Path) -> None:
    """Returns if a picture can be drawn to this path.

    Raises:
        ConfigError: it is neither .svg nor .png, its folder is not there, or matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"Cannot draw {path}: a picture is {' or '.join(SUFFIXES)}. Name the file so.")
    if not path.parent.is_dir():
        raise ConfigError(f"Cannot draw {path}: there is no folder {path.parent}. Make it first.")
    new_figure(1, 1)


def new_figure(width_inches: float, height_inches: float) -> Figure:
    """An empty figure, laid out so that no text is cut.

    Raises:
        ConfigError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("Cannot draw: matplotlib is not installed. Install it: pip install 'growres[figures]'") from (
            error
        )
    return Figure(figsize=(width_inches, height_inches), layout="constrained")


def save_picture(figure: Figure, path: Path) -> None:
    """Writes the figure; SVG keeps its text as text and carries no date, so that equal figures are equal files.

    Raises:
        ConfigError: if the file cannot be written.
    """
    import matplotlib

    try:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "growres"}):
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
            figure.savefig(path, dpi=DPI, metadata=metadata)
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror}. Name another file.") from error


def plain_log_ticks(axis: Axis, subs: tuple[float, ...] = (1, 2, 3, 5, 7)) -> None:
    """Labels a logarithmic axis with numbers such as 0.3, 1 and 20, not with powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
