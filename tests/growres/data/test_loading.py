from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from growres.config.experiment import DatasetConfig, LimitConfig
from growres.data.batches import DeviceData
from growres.data.loading import cached_sources, describe_source, load_images, mean_and_std

PRINT_WHAT_IS_SEEN = """
import sys
from pathlib import Path
import torch
from growres.config.experiment import DatasetConfig
from growres.data import DeviceData, load_images

data = load_images(DatasetConfig(source="digits", label_noise=0.1), Path(sys.argv[1]))
batches = DeviceData(data, device=torch.device("cpu"), batch_size=64, augment=(), memory_format=torch.contiguous_format)
print(data.fingerprint, [labels.tolist() for _, labels in batches.train_batches(5, 2)])
"""


def digits(**settings: object) -> DatasetConfig:
    return DatasetConfig(source="digits", **settings)


def test_splits_hold_other_images_each(home):
    data = load_images(digits(), home)
    drawn = torch.cat([data.train.images, data.validation.images, data.test.images])
    assert len(drawn) == 1797
    assert len(torch.unique(drawn.flatten(1), dim=0)) == 1797


def test_mean_and_std_are_those_of_the_training_split_alone(home):
    data = load_images(digits(limit=LimitConfig(train=100)), home)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()], abs=1e-12)
    assert data.std == pytest.approx([pixels.std(correction=0).item()], abs=1e-12)


def test_mean_and_std_of_each_channel_over_more_images_than_are_counted_at_a_time():
    images = np.random.default_rng(0).integers(0, 256, (5000, 3, 4, 4), dtype=np.uint8)
    images[:, 2] = 9
    mean, std = mean_and_std(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 2, 3)) / 255, rtol=1e-12)
    np.testing.assert_allclose(std[:2], images.std(axis=(0, 2, 3))[:2] / 255, rtol=1e-12)
    assert std[2] == 1 / 255  # constant, and yet it can be divided by


def test_label_noise_leaves_the_test_labels_and_all_images(home):
    clean, noisy = load_images(digits(), home), load_images(digits(label_noise=0.25), home)
    assert (clean.train.labels != noisy.train.labels).sum() == round(0.25 * len(clean.train))
    assert (clean.validation.labels != noisy.validation.labels).sum() == round(0.25 * len(clean.validation))
    assert torch.equal(clean.test.labels, noisy.test.labels)
    assert torch.equal(clean.train.images, noisy.train.images)


def test_the_fingerprint_differs_with_whatever_changes_the_images_or_labels(home):
    configs = [
        digits(),
        digits(split_seed=1),
        digits(validation=0.3),
        digits(test=0.3),
        digits(limit=LimitConfig(train=500)),
        digits(label_noise=0.1),
        digits(channels=3),
        digits(image_size=16),
    ]
    fingerprints = [load_images(config, home).fingerprint for config in configs]
    assert len(set(fingerprints)) == len(configs)
    assert fingerprints == [load_images(config, home).fingerprint for config in configs]


def test_the_same_files_elsewhere_have_the_same_fingerprint(home, tmp_path, write_folder):
    configs = [
        DatasetConfig(source="imagefolder", path=str(write_folder(tmp_path / name, {"ant": 10, "bee": 10})))
        for name in ("here", "there")
    ]
    here, there = (load_images(config, home).fingerprint for config in configs)
    assert here == there
    (tmp_path / "there" / "ant" / "000.png").unlink()
    assert load_images(configs[1], home).fingerprint != here


def test_another_process_and_home_sees_the_same_labels_in_the_same_order(home, tmp_path):
    data = load_images(digits(label_noise=0.1), home)
    contiguous = torch.contiguous_format
    batches = DeviceData(data, device=torch.device("cpu"), batch_size=64, augment=(), memory_format=contiguous)
    seen = f"{data.fingerprint} {[labels.tolist() for _, labels in batches.train_batches(5, 2)]}"
    run = subprocess.run(
        [sys.executable, "-c", PRINT_WHAT_IS_SEEN, str(tmp_path / "another")],
        env=os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == seen


def test_describing_a_source_counts_its_classes_and_splits(home):
    described = describe_source(digits(limit=LimitConfig(test=50)), home)
    assert described["name"] == described["source"] == "digits"
    assert described["splits"] == {"train": 1150, "validation": 288, "test": 50}
    assert [row["class"] for row in described["classes"]] == list("0123456789")
    for split, count in described["splits"].items():
        assert sum(row[split] for row in described["classes"]) == count
    assert (described["channels"], described["image_size"]) == (1, 8)
    assert Path(described["cache_path"]).name == described["fingerprint"]
    files = [path for path in (home / "data").rglob("*.npy")]
    assert described["bytes"] == sum(path.stat().st_size for path in files)
    json.dumps(described)


def test_sources_are_listed_when_they_are_cached_and_digits_always(home, tmp_path, write_folder):
    [before] = cached_sources(home)
    assert (before["source"], before["images"], before["bytes"], before["created_at"]) == ("digits", 1797, 0, None)
    load_images(digits(), home)
    load_images(digits(split_seed=4), home)
    root = write_folder(tmp_path / "pets", {"ant": 10, "bee": 10})
    load_images(DatasetConfig(source="imagefolder", path=str(root)), home)
    cached, pets = cached_sources(home)
    assert cached["fingerprint"] == before["fingerprint"] and cached["bytes"] > 1797 * 64
    assert list(cached) == list(before)
    assert (pets["path"], pets["images"], pets["channels"], pets["image_size"]) == (str(root), 20, 3, 8)


def test_the_cache_is_in_growres_home_unless_told_otherwise(home, monkeypatch):
    monkeypatch.setenv("GROWRES_HOME", str(home))
    load_images(digits())
    assert list((home / "data").glob("*/train/images.npy"))


def test_importing_the_package_imports_no_torch():
    program = "import sys, growres.data; print([name for name in ('torch', 'datasets', 'PIL') if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"
