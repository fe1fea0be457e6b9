"""YAML 1.2 scalars, keys and limits."""

from __future__ import annotations

import time

import pytest

from growres.config.problems import Problems
from growres.config.tree import plain
from growres.config.yaml_tree import Source, parse
from growres.errors import ConfigError


def read(text: str) -> object:
    problems = Problems()
    node = parse(text, Source("x.yaml"), problems)
    problems.raise_if_any()
    return plain(node)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        read(text)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1e3", 1000.0), ("1E+3", 1000.0), ("-1.5", -1.5), (".5", 0.5), ("1.", 1.0), ("-.5e1", -5.0),
        ("0", 0), ("-7", -7), ("+7", 7), ("010", 10), ("0o17", 15), ("0xfF", 255), ("9223372036854775807", 2**63 - 1),
        ("true", True), ("False", False), ("TRUE", True), ("null", None), ("~", None), ("", None), ("NULL", None),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"), ("1:30", "1:30"), ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"), ("0b1", "0b1"), ("1e", "1e"), ("e3", "e3"), ("=", "="), ("0x", "0x"), (".", "."),
        ("'1'", "1"), ('"true"', "true"), ("!!str 1", "1"), ("!!float 1", 1.0), ("!!int '3'", 3), ("- 1e-3", [0.001]),
        ("tRuE", "tRuE"), ("-", [None]), ("infinity", "infinity"), ("nan", "nan"), ("1e-3x", "1e-3x"),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(text, value):
    assert repr(read(text)) == repr(value)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e400", "9223372036854775808", "9" * 5000, "0x" + "f" * 17])
def test_numbers_that_nothing_can_hold_are_refused(text):
    assert "finite number" in refusal(text) or "64 bits" in refusal(text)


def test_keys_are_the_text_that_stands_there():
    assert read("{1: a, on: b, 1e3: c, ~: d, 0x1: e}") == {"1": "a", "on": "b", "1e3": "c", "~": "d", "0x1": "e"}


def test_explicit_keys_win_over_merged_ones_and_earlier_merges_over_later():
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {z: 3, <<: *b}"
    assert read(text) == {
        "a": {"x": 1, "y": 1},
        "b": {"y": 2, "z": 2},
        "c": {"x": 1, "y": 1, "z": 3},
        "d": {"y": 2, "z": 3},
    }


def test_a_quoted_merge_key_is_a_key():
    assert read("{'<<': 1}") == {"<<": 1}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        MERGE_BOMB,
        "&a [*a]",
        "&a {b: *a}",
        "&a {<<: *a}",
        "&a {<<: [*a, *a], x: &b [*a, *b]}",
        "[" * 50_000,
        "{a: " * 50_000,
        "- " * 50_000,
        "? " * 50_000,
        "[" * 39 + "]" * 39 + "\n" + "[" * 50,
        "[" + "1," * 150_000 + "]",
    ],
    ids=["aliases", "merges", "list", "map", "merged", "knot", "brackets", "braces", "dashes", "keys", "two", "wide"],
)
def test_a_bomb_is_refused_quickly(text):
    start = time.monotonic()
    line = refusal(text)
    assert line.startswith("x.yaml:")
    assert time.monotonic() - start < 20


@pytest.mark.parametrize(
    "text",
    ['"\\UFFFFFFFF"', "%YAML 9.9\n---\na", "@a", "`a", "%",
     "%YAML " + "9" * 5000 + ".1\n--- a", "'open", "{a: 1", "a: b: c", "!<tag:x,2000:y> 1",
     "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!!timestamp 2024-01-01", "!!map [1]", "*x",
     "a: |\n x\n\ty: 1\n  - z", "%TAG ! x\n---\n!y z", "? [a]\n: 1", "\ufffe", "!!seq {}", "!!null x",
     "!!bool maybe"],
)  # fmt: skip
def test_odd_yaml_is_refused_at_a_place(text):
    assert refusal(text).startswith("x.yaml:")
