"""data.train_size: a part of the training inputs, each class in proportion, a smaller part inside a larger one."""

import json

import numpy as np
import pytest

from saccade.cli.main import main
from saccade.data.batching import TrainOrder
from saccade.data.splits import nested_subset


def test_subsets_are_nested_and_keep_the_classes_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    small, large = nested_subset(labels, 50, 1), nested_subset(labels, 400, 1)
    assert set(small) < set(large)
    assert len(set(small)) == 50
    assert np.abs(np.bincount(labels[list(small)]) - [30, 15, 5]).max() <= 1
    assert np.abs(np.bincount(labels[list(large)]) - [240, 120, 40]).max() <= 1
    assert nested_subset(labels, 50, 2) != small
    assert nested_subset(labels, 1000, 0) == tuple(range(1000))
    alone = np.array([0] * 99 + [1])  # an image of its own class is in half of the halves
    assert 60 < sum(99 in nested_subset(alone, 50, seed) for seed in range(200)) < 140


def test_an_epoch_has_the_subset_once() -> None:
    order = TrainOrder(6, 2, seed=0, subset=(3, 5, 8, 13, 21, 34))
    for epoch in range(2):
        drawn = [index for step in range(3) for index, _ in order.items(3 * epoch + step)]
        assert sorted(drawn) == [3, 5, 8, 13, 21, 34]


def test_a_run_on_a_part(tmp_path, capsys: pytest.CaptureFixture) -> None:
    common = ["train", "digits", "--steps", "3", "--set", "preflight=false", "--output"]
    assert main([*common, str(tmp_path / "run"), "--set", "data.train_size=128"]) == 0
    provenance = json.loads((tmp_path / "run/model/config.json").read_text())["provenance"]
    assert provenance["data"]["images"]["train"] == 128
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3]  # two batches of 64 are an epoch
    assert main([*common, str(tmp_path / "other"), "--set", "data.train_size=5000"]) == 2
    assert "data.train_size must be from 1 to the 1365 training inputs, not 5000" in capsys.readouterr().err
