"""The data check finds what it says it finds, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data.builtin.digits import digits_splits
from saccade.data.check import check_data
from saccade.data.image_folder import open_data
from saccade.errors import ConfigError
from tests.photos import make_photos


def test_digits_are_sound_and_split_as_always() -> None:
    splits = digits_splits()
    report = check_data(splits)
    assert (len(splits.train), splits.val, len(splits.test)) == (1437, None, 360)  # type: ignore[arg-type]
    assert not report.errors
    assert report.coverage == (1797, 1797)
    assert set(splits.train.names).isdisjoint(splits.test.names)  # type: ignore[union-attr]


def test_digits_for_validation_come_from_those_to_train_on() -> None:
    whole, splits = digits_splits(), digits_splits(val=72)
    parts = {name: set(source.names) for name, source in (("train", splits.train), ("val", splits.val))}  # type: ignore[union-attr]
    assert (len(splits.train), len(splits.val)) == (1365, 72)  # type: ignore[arg-type]
    assert parts["train"] | parts["val"] == set(whole.train.names)
    assert splits.test.names == whole.test.names  # type: ignore[union-attr]
    assert np.bincount(splits.val.labels).min() >= 7  # type: ignore[union-attr]  # of each class
    assert splits.fingerprint != whole.fingerprint
    assert splits.fingerprint == digits_splits(val=72).fingerprint
    with pytest.raises(ConfigError, match=r"data\.digits\.val must be 0, or from 10 to 1000"):
        digits_splits(val=5)


def test_finds_broken_copies_and_labels_that_disagree(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "p", ("train", "test"), count=12)
    (photos / "train/cat/0.png").write_bytes(b"not an image")
    (photos / "test/cat/1.png").write_bytes((photos / "train/cat/1.png").read_bytes())
    (photos / "train/cat/2.png").write_bytes((photos / "train/cat/3.png").read_bytes())
    (photos / "train/dog/4.png").write_bytes((photos / "train/cat/4.png").read_bytes())
    report = check_data(open_data(str(photos)))
    assert list(report.broken) == ["train/cat/0.png"]
    assert [sorted(g) for g in report.leaks if "train:train/cat/1.png" in g] == [
        ["test:test/cat/1.png", "train:train/cat/1.png"]
    ]
    assert any("train/cat/2.png" in n for g in [*report.duplicates, *report.leaks] for n in g)
    assert any("train/dog/4.png" in n for n in report.conflicts[0])
    assert len(report.errors) == 2
    json.dumps(report.to_dict())
    assert "error: 1 broken" in str(report)


def test_says_when_classes_are_out_of_balance(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "p", count=3)
    for i in range(100):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(photos / "cat" / f"more{i}.png")
    warnings = check_data(open_data(str(photos))).warnings
    assert any("unbalanced" in text for text in warnings)


def test_a_sample_looks_at_fewer(tmp_path: Path) -> None:
    import saccade.data.check as check

    splits = digits_splits()
    before, check.SAMPLE = check.SAMPLE, 100
    try:
        assert check_data(splits, mode="sample").coverage[0] < 120
        assert check_data(splits, mode="auto").coverage == (1797, 1797)
    finally:
        check.SAMPLE = before
