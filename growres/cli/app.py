"""The `growres` command: its subcommands, what all of them share, and how an error becomes a message and an exit code.

Exit codes: 0 done; 1 some trials, or some images, failed; 2 usage or config error; 3 cluster or database unreachable;
4 schema mismatch; 130 interrupted. A traceback is a bug of ours.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

from growres import __version__
from growres.cli import (
    analysis,
    comparison,
    dashboard,
    data,
    database,
    doctor,
    experiments,
    figures,
    power,
    running,
    specs,
    status,
    submission,
    trained,
    zoo,
)
from growres.cli.talk import say
from growres.errors import EXIT_INTERRUPTED, GrowresError, GrowresWarning, SpecError

EXIT_USAGE = 2

app = typer.Typer(
    name="growres",
    help="Grow residual networks block by block, against honest controls, and keep every decision in SQL.",
    epilog="Begin with: growres submit digits",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a plain traceback: short, and it shows no local variables
    context_settings={"help_option_names": ["--help", "-h"]},
)

_RUN, _READ, _USE, _LOOK = "Run", "Read", "Use", "Look around"
app.command("submit", rich_help_panel=_RUN)(submission.submit)
app.command("resume", rich_help_panel=_RUN)(submission.resume)
app.command("retry", rich_help_panel=_RUN)(submission.retry)
app.command("stop", rich_help_panel=_RUN)(running.stop)
app.command("drive", rich_help_panel=_RUN, hidden=True)(running.drive)
app.command("validate", rich_help_panel=_RUN)(specs.validate)
app.command("schema", rich_help_panel=_RUN)(specs.schema)
app.command("list", rich_help_panel=_READ)(experiments.list_experiments)
app.command("status", rich_help_panel=_READ)(status.status)
app.command("logs", rich_help_panel=_READ)(running.logs)
app.command("results", rich_help_panel=_READ)(experiments.results)
app.command("compare", rich_help_panel=_READ)(comparison.compare)
app.command("dashboard", rich_help_panel=_READ)(dashboard.dashboard)
app.command("show", rich_help_panel=_READ)(experiments.show)
app.command("analyze", rich_help_panel=_READ)(analysis.analyze)
app.command("query", rich_help_panel=_READ)(database.query)
app.add_typer(database.app, name="db", rich_help_panel=_READ)
app.command("predict", rich_help_panel=_USE)(trained.predict)
app.command("export", rich_help_panel=_USE)(trained.export)
app.add_typer(zoo.app, name="zoo", rich_help_panel=_LOOK)
app.add_typer(data.app, name="data", rich_help_panel=_LOOK)
app.command("power", rich_help_panel=_LOOK)(power.power)
app.command("doctor", rich_help_panel=_LOOK)(doctor.doctor)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"growres {__version__}")
        raise typer.Exit


@app.callback()
def configure(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log on stderr: -v a run's story, -vv every detail.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[_StderrHandler()], force=True
    )
    for package in ("growres", "jobs", "zoo"):  # other libraries' details would bury ours
        logging.getLogger(package).setLevel((logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)])
    warnings.showwarning = _show_warning


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever sys.stderr is at that moment: a live display puts itself there, to print above itself."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


_show_foreign_warning = warnings.showwarning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of ours is one line for the person; any other looks as it always does."""
    if issubclass(category, GrowresWarning):
        print(f"growres: warning: {figures.lines(message)}", file=file or sys.stderr)
    else:
        _show_foreign_warning(message, category, filename, lineno, file, line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and gives the exit code; a user's mistake is a message on stderr, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a narrow encoding is no reason to lose the rest of a table
    try:
        code = app(args=arguments, prog_name="growres", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard_stdout()
        return 1
    except typer.Abort:
        return EXIT_INTERRUPTED
    except typer.TyperException as error:
        return _tell_usage_error(error)
    except SpecError as error:
        for line in str(error).splitlines():  # editors jump to `file:line:column: ...`
            say(f"growres: {line}" if line.startswith("--set ") else line)
        return error.exit_code
    except GrowresError as error:
        say(f"growres: {error}")
        return error.exit_code
    except ValueError as error:
        if not _is_model_error(error):
            raise
        say(f"growres: {error}")
        return EXIT_USAGE
    return code if isinstance(code, int) else 0


def _discard_stdout() -> None:
    """Whoever read the output is gone: what is still buffered goes nowhere, quietly, when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _tell_usage_error(error: typer.TyperException) -> int:
    context: typer.Context | None = getattr(error, "ctx", None)
    command = context.command_path if context else "growres"
    message = _in_our_words(error).rstrip(".")
    if message:  # a bare `growres` has printed its help already
        say(f"growres: {message}. See: {command} --help")
    return error.exit_code


def _in_our_words(error: typer.TyperException) -> str:
    """The message, with what a value must be and the value seen in place of pydantic's own words."""
    from pydantic import ValidationError

    message = error.format_message().replace("Value error, ", "")
    if not isinstance(error.__cause__, ValidationError):
        return message
    wrong = error.__cause__.errors()[0]
    bounds = wrong.get("ctx", {})
    match wrong["type"]:
        case "int_parsing" | "int_from_float" | "int_type":
            must = "a whole number"
        case "float_parsing" | "float_type":
            must = "a number"
        case "greater_than_equal":
            must = f"at least {bounds['ge']}"
        case "less_than_equal":
            must = f"at most {bounds['le']}"
        case _:
            return message
    return f"{message.partition(': ')[0]}: must be {must} (seen {wrong['input']!r})"


def _is_model_error(error: ValueError) -> bool:
    from zoo import ModelError

    return isinstance(error, ModelError)
