"""Real experiment files, mutated as trees: each is an experiment or a SpecError, soon, and nothing of it ever runs.

test_hostile_files.py mutates the text of one file; this one keeps the YAML whole and puts what is hostile where a
value, a key or a name belongs.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from growres.config.loading import load_experiment
from growres.errors import GrowresError, SpecError

PRESETS = sorted((Path(__file__).parents[3] / "jobs" / "presets").glob("*.yaml"))

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**64), 10**400, 0.0, -0.0, 1e-400, 1e308, 1e309,
    float("nan"), float("inf"), "", " ", "x" * 10_000, "\x00", "\x1b[31mred\x1b[0m", "\x1b]0;owned\x07", "\x9b2J",
    "\u202etxt.exe", "\ud800", "\r\n", "../../../etc/passwd", "/etc/passwd", "~root/.ssh/id_rsa", "..", ".", "-rf", "*",
    "$(touch owned)", "`touch owned`", "; touch owned", "'; DROP TABLE experiment; --", "\" OR 1=1 --", "{{7*7}}",
    "%s%s%n", "__import__('os').system('touch owned')", "file:///etc/passwd", "1e5", "on", "0x10", "1_000", "12:30:45",
    [], {}, [[]], {"name": None}, {"name": {"name": {}}}, [None] * 50, list(range(300)), {"grid": [1, 2]}, {"grid": []},
    {"grid": {"grid": 1}}, {"uniform": [1, 0]}, {"uniform": [0, float("inf")]}, {"loguniform": [0, 1]},
    {"randint": [0, 10**30]}, {"choice": "abc"}, {"x": 1, 2: 3}, {"__class__": "x", "__init__": {"__globals__": 1}},
]  # fmt: skip

RAW = [
    "!!python/object/apply:os.system ['touch owned']",
    "!!python/object/new:subprocess.check_output [['touch', 'owned']]",
    "!!python/name:os.system ''",
    "!!python/module:os ''",
    "!!python/tuple [1, 2]",
    "!!binary 'AAAA'",
    "!!set {a, b}",
    "!!timestamp 2001-01-01",
    "!!int x",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch owned']",
    "&a [*a, *a]",
    "&a {b: *a}",
    "*nowhere",
    "{<<: *nowhere}",
    "{<<: 3}",
    "{<<: [{a: 1}, {a: 2}]}",
    "[" * 30 + "]" * 30,
    "[" * 3000,
    "{a: " * 3000,
    "[" * 500 + "]" * 500,
    "- " * 2000,
    '"\\UFFFFFFFF"',
    '"\\ud800"',
    "? [complex, key]\n: 1",
    "|\n  " + "text " * 5000,
    "%YAML 9.9",
    "---\n...\n---",
    "9" * 5000,
    "1e" + "9" * 400,
    "0x" + "f" * 4000,
]
"""Put into the text in place of a value, as they stand."""

PLACEHOLDER = "put-it-here"

BOMBS = [
    # Nine times ten to the power of nine values, in a kilobyte.
    "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)),
    "a0: &a0 {k0: x, k1: x}\n" + "".join(f"a{n}: &a{n} {{k0: *a{n - 1}, k1: *a{n - 1}}}\n" for n in range(1, 45)),
    "a0: &a0 {k0: x}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: x}}\n" for n in range(1, 38)),
    "x: &x {<<: *x}\n",
    "x: &x\n  y: &y {<<: [*x, *y]}\n",
]


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values below the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from places(child, (*path, key))


def parent_of(tree: Any, path: tuple[Any, ...]) -> Any:
    for part in path[:-1]:
        tree = tree[part]
    return tree


def mutate(tree: Any, generator: random.Random) -> None:
    """One change at a random place: of a value, its type, its key, its nesting, or whole branches exchanged."""
    everywhere = list(places(tree))
    if not everywhere:
        return
    path = generator.choice(everywhere)
    parent, key = parent_of(tree, path), path[-1]
    match generator.randrange(8):
        case 0 | 1:
            parent[key] = copy.deepcopy(generator.choice(VALUES))
        case 2:
            parent[key] = PLACEHOLDER
        case 3:
            for _ in range(generator.choice([1, 5, 60])):
                parent[key] = [parent[key]] if generator.random() < 0.5 else {"name": parent[key]}
        case 4:
            other = generator.choice(everywhere)
            parent[key] = copy.deepcopy(parent_of(tree, other)[other[-1]])
        case 5 if isinstance(parent, dict):
            new = generator.choice([value for value in VALUES if isinstance(value, str | int | float | bool | None)])
            parent[new] = parent.pop(key)
        case 6 if isinstance(parent, dict):
            del parent[key]
        case _:
            parent[key] = str(parent[key]) if generator.random() < 0.5 else [parent[key]] * 3


def mutated(generator: random.Random) -> str:
    tree = yaml.safe_load(generator.choice(PRESETS).read_text())
    for _ in range(generator.choice([1, 1, 2, 5])):
        mutate(tree, generator)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=generator.random() < 0.5)
    return text.replace(PLACEHOLDER, generator.choice(RAW))


def answer(path: Path, text: str | bytes, *overrides: str) -> GrowresError | None:
    """None where it is loaded; the SpecError where it is refused. Any other exception, or a long wait, is a failure."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    started = time.process_time()
    try:
        load_experiment(path, overrides)
        error = None
    except SpecError as refusal:
        error = refusal
        assert all(line.isprintable() for line in str(refusal).split("\n")), "nothing raw reaches a terminal"
        assert len(str(refusal)) < 200_000
    assert time.process_time() - started < 20
    return error


@pytest.mark.parametrize("seed", range(6))
def test_a_mutated_tree_is_an_experiment_or_a_spec_error(tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    generator = random.Random(seed)
    answers = []
    for _ in range(60):
        text = mutated(generator)
        try:
            answers.append(answer(tmp_path / "exp.yaml", text))
        except Exception as error:
            raise AssertionError(f"of this file came a {type(error).__name__}:\n{text[:5000]}") from error
    assert None in answers and any(answers), "some are loaded, some refused"
    assert [path.name for path in tmp_path.iterdir()] == ["exp.yaml"], "nothing ran, nothing was written"


@pytest.mark.parametrize("raw", RAW, ids=range(len(RAW)))
@pytest.mark.parametrize("key", ["name", "variants", "dataset", "training", "seeds"])
def test_hostile_yaml_in_place_of_a_section_is_refused(tmp_path, monkeypatch, raw, key):
    monkeypatch.chdir(tmp_path)
    tree = yaml.safe_load(PRESETS[0].read_text())
    tree[key] = PLACEHOLDER
    text = yaml.safe_dump(tree, sort_keys=False).replace(PLACEHOLDER, raw)
    assert answer(tmp_path / "exp.yaml", text) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["exp.yaml"]


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_of_aliases_is_refused_before_it_goes_off(tmp_path, bomb):
    text = PRESETS[0].read_text()
    for whole in (bomb, bomb + text, text + bomb):
        assert answer(tmp_path / "exp.yaml", whole) is not None


@pytest.mark.parametrize(
    "name",
    ["../../x", "/etc/passwd", "..", "a/b", "x\x1b[31m", "'; DROP TABLE trial; --", "", "x" * 500, "a\nb", "\u202ex"],
)
def test_hostile_names_are_refused_by_their_place(tmp_path, name):
    tree = yaml.safe_load(PRESETS[0].read_text())
    spec = yaml.safe_dump(tree | {"name": name})
    assert ": name: " in str(answer(tmp_path / "exp.yaml", spec))
    variants = dict(tree["variants"])
    variants[name] = variants.pop(next(iter(variants)))
    assert answer(tmp_path / "exp.yaml", yaml.safe_dump(tree | {"variants": variants})) is not None
    assert answer(tmp_path / "exp.yaml", PRESETS[0].read_text(), f"name={name}") is not None
