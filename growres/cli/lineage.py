"""`growres show TRIAL --lineage`: the tree of proposals. The trunk runs down the left edge, however long it is."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from growres.cli import figures
from growres.cli.growth_notes import SCREENED_OUT, print_notes
from growres.cli.tables import COLORS, Format, is_colored, print_json, print_rows, terminal_width
from growres.errors import NotFoundError

if TYPE_CHECKING:
    from growres.report.lineage import Ancestor, ProposedStep
    from growres.store import TrialRow

_AS_WIDE_AS_NEEDED = 10_000


def print_lineage(
    trial: TrialRow, growth_curve: Sequence[dict[str, Any]], growth_steps: Sequence[dict[str, Any]], output: Format
) -> None:
    """Writes the tree: drawn for a person, nested lists in Markdown, nested objects in JSON, a line a step in CSV.

    Raises:
        NotFoundError: if the trial has none.
    """
    from growres.report.lineage import ancestors

    if not growth_curve:
        raise NotFoundError(
            f"Trial {trial.id} has no lineage: its procedure is {trial.procedure}, its status {trial.status}, and no "
            f"network of it has grown. See: growres show {trial.id}"
        )
    trunk = ancestors(growth_curve, growth_steps)
    match output:
        case Format.JSON:
            print_json({"trial_id": trial.id, "variant": trial.variant, "seed": trial.seed, "lineage": trunk})
        case Format.CSV:
            print_rows([dataclasses.asdict(step) for step in _in_order(trunk)], (), output)
        case Format.MD:
            print("\n".join(_markdown(trunk)))
            print_notes(trial, growth_steps)
        case Format.TABLE:
            _draw(f"{trial.id} {figures.text(trial.variant)}, seed {trial.seed}", trunk)
            print_notes(trial, growth_steps)


def _in_order(trunk: Sequence[Ancestor]) -> list[ProposedStep]:
    steps = [step for ancestor in trunk for step in (ancestor.accepted, *ancestor.declined) if step is not None]
    return sorted(steps, key=lambda step: step.step)


def _draw(title: str, trunk: Sequence[Ancestor]) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    colored = is_colored(sys.stdout)

    def label(line: str, verdict: str | None) -> Text:
        text = Text(line)
        color = COLORS.get(verdict or "")
        if color and verdict:
            text.highlight_words([verdict], color)
        return text

    tree = Tree(Text(title, style="bold"))
    for ancestor in trunk:
        branch = tree.add(label(_ancestor_line(ancestor), "accepted" if ancestor.accepted else None))
        for step in ancestor.declined:
            branch.add(label(_step_line(step), step.verdict))
    console = Console(
        file=sys.stdout, width=terminal_width(sys.stdout) or _AS_WIDE_AS_NEEDED, no_color=not colored, highlight=False
    )
    console.print(tree, crop=False)


def _markdown(trunk: Sequence[Ancestor]) -> list[str]:
    return [
        line
        for ancestor in trunk
        for line in (f"- {_ancestor_line(ancestor)}", *(f"  - {_step_line(step)}" for step in ancestor.declined))
    ]


def _ancestor_line(ancestor: Ancestor) -> str:
    """`step 2 accepted: stage 0, block 1, val error 8.00% -> 2.09% (control 2.50%), 51.2k params, 3 blocks`."""
    blocks = figures.ABSENT if ancestor.num_blocks is None else figures.number_of(ancestor.num_blocks, "block")
    if ancestor.accepted is not None:
        return f"{_step_line(ancestor.accepted)}, {blocks}"
    error, params = figures.percent(ancestor.val_error), figures.count(ancestor.num_params)
    return f"seed network: val error {error}, {params} params, {blocks}"


def _step_line(step: ProposedStep) -> str:
    candidate = "diverged" if step.val_error_candidate is None else figures.percent(step.val_error_candidate)
    candidate += SCREENED_OUT if step.is_screened_out else ""
    control = "" if step.val_error_control is None else f" (control {figures.percent(step.val_error_control)})"
    without = "without " if step.kind == "remove" else ""
    return (
        f"step {step.step} {step.verdict}: {without}stage {step.stage}, block {step.block}, val error "
        f"{figures.percent(step.val_error_before)} -> {candidate}{control}, {figures.count(step.num_params)} params"
    )
