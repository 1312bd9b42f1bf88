"""Intervals of the bootstrap against SciPy's and their promise; the main metrics of every task on any draw."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.batching import eval_batches
from saccade.data.preprocessing import Preprocessing
from saccade.engine.collect import collect
from saccade.engine.intervals import Interval, bootstrap
from saccade.engine.task import RanksMetrics
from saccade.errors import ConfigError
from saccade.tasks import table
from tests.golden.cases import config_of

CASES = (
    "classify", "regression", "detect_detr", "detect_masks", "detect_yolo", "depth", "depth_ssi", "segment", "contrast",
    "translate_strips", "translate_texts", "words", "pretrain_pixels", "multilabel",
)  # fmt: skip


def mean_of(values: Tensor) -> Any:
    return lambda index: {"mean": values[index].mean().item()}


def test_the_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = torch.randn(80, generator=torch.Generator().manual_seed(0)).double().exp()
    interval = bootstrap(mean_of(values), 80, resamples=4000).metrics["mean"]
    reference = stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    width = reference.high - reference.low
    assert interval.value == pytest.approx(values.mean().item())
    assert (interval.low, interval.high) == pytest.approx(reference, abs=0.05 * width)
    assert interval.high - interval.value > interval.value - interval.low  # skewed as the values are


def test_of_a_hundred_intervals_some_ninety_five_hold_the_truth() -> None:
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(100):
        correct = (torch.rand(200, generator=generator) < 0.7).double()
        interval = bootstrap(mean_of(correct), 200, resamples=200).metrics["mean"]
        covered += interval.low <= 0.7 <= interval.high
    assert 88 <= covered <= 99


def test_seeds_levels_and_metrics_that_are_not_always_defined() -> None:
    values = torch.arange(10.0)
    first, again, other = (bootstrap(mean_of(values), 10, resamples=50, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    narrow = bootstrap(mean_of(values), 10, resamples=50, level=0.5).metrics["mean"]
    assert narrow.high - narrow.low < first.metrics["mean"].high - first.metrics["mean"].low

    def resample(index: Tensor) -> Mapping[str, float]:
        """The smallest is not defined on draws without the first input."""
        return {"count": float(len(index)), **({"smallest": 0.0} if 0 in index else {})}

    intervals = bootstrap(resample, 10, resamples=50)
    assert intervals.metrics == {"count": Interval(10, 10, 10), "smallest": Interval(0, 0, 0)}
    assert "smallest" in str(intervals)
    for arguments in ({"inputs": 1}, {"inputs": 9, "resamples": 1}, {"inputs": 9, "level": 1.0}):
        with pytest.raises(ConfigError):
            bootstrap(resample, **arguments)


@pytest.mark.parametrize("name", CASES)
def test_metrics_of_every_task(name: str) -> None:
    torch.manual_seed(0)
    config = config_of(name)
    setup = table.room(config.task).setup(config, torch.device("cpu"))
    dataset = setup.test or setup.val
    assert dataset is not None
    batches = list(eval_batches(dataset, 4, workers=0))[:4]
    collected = collect(setup.start.model, batches, "cpu", setup.task)
    count = len(collected)
    resample, measured = setup.task.resampler(collected), setup.task.measure(collected)
    whole, scalars = resample(torch.arange(count)), measured.scalars()
    common = whole.keys() & scalars.keys()
    assert common or config.task == "contrastive"
    assert isinstance(setup.task, RanksMetrics)
    assert whole.keys() - {"alike"} <= setup.task.better.keys()  # the mean cosine of two images is no quality
    for key in common:
        assert whole[key] == pytest.approx(scalars[key], abs=1e-6), key
    if config.task == "contrastive":
        recalls = [*measured.image_to_text, *measured.text_to_image]
        assert [v for key, v in whole.items() if "R@" in key] == pytest.approx(recalls)
    twice = resample(torch.arange(count).repeat(2))
    assert twice.keys() == whole.keys()
    for key in whole.keys() - {"BLEU"}:  # which is smoothed by the size of the corpus where no n-gram matches
        assert twice[key] == pytest.approx(whole[key], abs=1e-3), key  # every input twice changes nothing
    intervals = bootstrap(resample, count, resamples=8)
    assert all(math.isfinite(i.low) and i.low <= i.high for i in intervals.metrics.values())
    json.dumps(intervals.to_dict())


def test_every_task_has_a_case() -> None:
    assert {config_of(name).task for name in CASES} == set(table.TASKS)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    net = saccade.create("vit_digits", options={"depth": 1})
    preprocessing = Preprocessing((8, 8), "exact", 1.0, channels=1, mean=(0.5,), std=(0.5,))
    save_model_dir(tmp_path / "model", LoadedModel(net, "vit", tuple("0123456789"), preprocessing))
    arguments = ["evaluate", str(tmp_path / "model"), "digits", "--split", "test", "--workers", "0"]
    assert main([*arguments, "--intervals", "--resamples", "100", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    accuracy = content["intervals"]["metrics"]["accuracy"]
    assert accuracy["low"] < accuracy["value"] == content["accuracy"] < accuracy["high"]
    assert {"macro F1", "calibration error", "top-5"} <= content["intervals"]["metrics"].keys()
    assert main([*arguments, "--json"]) == 0
    assert "intervals" not in json.loads(capsys.readouterr().out)
    assert main([*arguments, "--intervals", "--resamples", "10"]) == 0
    assert "10 draws of 360 inputs" in capsys.readouterr().out
    assert main([*arguments, "--intervals", "--stages"]) == 2
