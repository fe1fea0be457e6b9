import csv
import io
import re


def test_the_tree_shows_every_step_once_below_its_parent(growres, experiment):
    lines = growres("show", "latest-1", "--lineage").out.splitlines()
    assert lines == [
        f"{experiment}-1 simons, seed 0",
        "├── seed network: val error 8.00%, 40.0k params, 2 blocks",
        "└── step 1 accepted: stage 0, block 1, val error 8.00% -> 2.09%, 51.2k params, 3 blocks",
        "    └── step 2 rejected: stage 0, block 1, val error 2.09% -> 9.00%, 51.2k params",
    ]


def test_every_format_has_every_step_once(growres, trained):
    steps = growres("show", "latest-1", "--format", "json").json["growth_steps"]
    assert len(steps) > 1
    (seed, *grown) = growres("show", "latest-1", "--lineage", "--format", "json").json["lineage"]
    assert seed["accepted"] is None
    nested = [*seed["declined"], *(step for node in grown for step in (node["accepted"], *node["declined"]))]
    flat = list(csv.DictReader(io.StringIO(growres("show", "latest-1", "--lineage", "--format", "csv").out)))
    drawn = growres("show", "latest-1", "--lineage").out
    listed = growres("show", "latest-1", "--lineage", "--format", "md").out
    for found in (
        [step["step"] for step in nested],
        [int(row["step"]) for row in flat],
        [int(number) for number in re.findall(r"step (\d+) \w+:", drawn)],
        [int(number) for number in re.findall(r"- step (\d+) \w+:", listed)],
    ):
        assert sorted(found) == [step["step"] for step in steps]


def test_colour_is_for_terminals_and_narrow_ones_lose_no_word(experiment, growres, on_a_terminal):
    assert "\x1b" not in growres("show", "latest-1", "--lineage").out
    drawn = on_a_terminal(40, "show", "latest-1", "--lineage")
    assert "\x1b[32maccepted" in drawn
    lines = re.sub(r"\x1b\[[0-9;]*m", "", drawn).splitlines()
    assert max(map(len, lines)) <= 40
    words = " ".join(line.strip("│├└─ ") for line in lines).split()
    assert words == re.sub("[│├└─]", " ", growres("show", "latest-1", "--lineage").out).split()


def test_a_trial_that_grew_nothing_has_no_lineage(growres, experiment):
    answer = growres("show", "latest-4", "--lineage")
    assert (answer.code, answer.out) == (2, "")
    assert "has no lineage" in answer.err
