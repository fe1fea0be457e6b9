"""Whatever is thrown at the loader, it answers with an experiment or a ConfigError, and soon."""

from __future__ import annotations

import random
import re
import time

from growres.errors import ConfigError

TOKENS = [
    "", " ", "\n", ":", ": ", "- ", "{", "}", "[", "]", ",", "#", "&a ", "*a", "<<: *a", "!!str ", "!x ", "|", ">",
    "'", '"', "%", "\t", "\x00", "\ud7ff", "\u202e", "é", "null", "true", "on", "-1", "0", "1e-3", "1e400", ".nan",
    "99999999999999999999", "x", "name", "sweep", "training", "growth", "model", "grid", "uniform", "randint",
    "samples: 3", "~", "{}", "[]", "{a: 1}", "[[1]]", "training.epochs", "model.blocks", "procedure", "variants:",
    "---", "...", "? ", "1000000", "{grid: [1, 2]}", "{name: x}",
]  # fmt: skip
KEYS = [
    "training.epochs", "seeds", "variants", "variants.simons", "variants.simons.growth", "training", "dataset",
    "seeds.0", "name", "variants.resnet14.sweep.training.epochs", "variants.lenet5.model", "training.augment.0",
    "training.optimizer", "x.y.z",
]  # fmt: skip


def mutated(text: str, generator: random.Random) -> str:
    words = re.findall(r"\w+|\W", text)
    for _ in range(generator.randint(1, 4)):
        index = generator.randrange(len(words))
        match generator.randrange(5):
            case 0:
                words[index] = generator.choice(TOKENS)
            case 1:
                words.insert(index, generator.choice(TOKENS))
            case 2:
                del words[index]
            case 3:
                words[index] = generator.choice(words)
            case 4:
                end = min(len(words), index + generator.randint(1, 40))
                words[index:end] = words[index:end] * 2
    return "".join(words)


def test_mutated_files_are_loaded_or_refused(digits, load):
    generator = random.Random(0)
    loaded = 0
    for _ in range(400):
        text = mutated(digits, generator)
        overrides = [
            f"{generator.choice(KEYS)}={generator.choice(TOKENS)}" for _ in range(generator.choice([0, 0, 1, 2]))
        ]
        start = time.monotonic()
        try:
            load(text, *overrides)
            loaded += 1
        except ConfigError as error:
            assert str(error)
            assert all(re.match(r"exp\.yaml:|--set ", line) for line in str(error).splitlines()), str(error)
        assert time.monotonic() - start < 5
    assert 0 < loaded < 400


def test_mutated_bytes_are_loaded_or_refused(digits, load):
    generator = random.Random(1)
    for _ in range(150):
        content = bytearray(digits.encode())
        for _ in range(generator.randint(1, 6)):
            content[generator.randrange(len(content))] = generator.randrange(256)
        try:
            load(bytes(content))
        except ConfigError as error:
            assert str(error).isprintable() or "\n" in str(error)


def test_a_file_of_many_variants_is_read_in_reasonable_time(digits, load):
    variants = "".join(f"  v{number}: {{procedure: end_to_end, model: {{name: lenet5}}}}\n" for number in range(1000))
    start = time.monotonic()
    assert len(load(digits.replace("resources:", f"{variants}resources:")).experiment.trials) == 2008
    assert time.monotonic() - start < 20


def test_the_most_trials_are_expanded_in_reasonable_time(digits, load):
    sweep = "samples: 4900\n    sweep: {training.optimizer.lr: {loguniform: [1e-4, 1]}}"
    start = time.monotonic()
    text = digits.replace("sweep: {training.optimizer.lr: {grid: [0.05, 0.1]}}", sweep)
    assert len(load(text).experiment.trials) == 9804
    assert time.monotonic() - start < 20
