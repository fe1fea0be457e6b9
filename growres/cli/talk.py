"""What is said on stderr beside the results, and how a command is written so that it can be pasted."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from growres.cli import figures


def say(message: str) -> None:
    """A line of talk on stderr, after the results that stdout still holds back; what it quotes drives no terminal."""
    sys.stdout.flush()
    print(figures.lines(message), file=sys.stderr)


def say_what_did_not_fit(headings: Sequence[str]) -> None:
    """Tells which columns of the tables above the terminal cut or had no room for, and where all of them are."""
    if headings:
        say(f"\nCut or left out here: {', '.join(dict.fromkeys(headings))}; --format md, or a pipe, has all.")


def command(*, at_home: bool = True) -> str:
    """How the person calls growres: with its path where it is not on PATH, and with the GROWRES_HOME it was given.

    Args:
        at_home: the command uses GROWRES_HOME; without that, it need not be written.
    """
    program = Path(sys.argv[0])
    on_path = shutil.which("growres")
    is_pathless = program.name != "growres" or not program.exists() or (on_path and os.path.samefile(on_path, program))
    words = "growres" if is_pathless else shlex.quote(os.path.relpath(program))
    home = os.environ.get("GROWRES_HOME")
    return f"GROWRES_HOME={shlex.quote(home)} {words}" if home and at_home else words
