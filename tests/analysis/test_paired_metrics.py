"""Two models of any task on the same inputs: paired intervals that are known, matching by name, a detector's report."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import saccade
from saccade.analysis.paired_metrics import compare_metrics, largest_differences, paired_bootstrap, without
from saccade.checkpoints.directory import LoadedModel
from saccade.cli.main import main
from saccade.data.vocabulary import Vocabulary
from saccade.engine.intervals import Resampler, bootstrap
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.tasks.detection.setup import detector_preprocessing
from saccade.tasks.loading import predictor_of
from saccade.tasks.masked_lm.task import MaskedLMTask
from saccade.tasks.seq2seq.task import Seq2SeqTask
from tests.analysis.test_points import created
from tests.tasks.detection.test_sources import write_coco


def mean_of(values: torch.Tensor, name: str = "error") -> Resampler:
    return lambda index: {name: values[index].mean().item()}


def test_what_both_models_share_cancels() -> None:
    """Errors that vary widely between inputs, and by 0.1 between the models: the paired interval has no width."""
    torch.manual_seed(0)
    errors = 10 * torch.rand(200, dtype=torch.double)
    rows = torch.arange(200)
    (metric,) = paired_bootstrap((mean_of(errors), mean_of(errors - 0.1)), (rows, rows), resamples=300)
    assert metric.difference.value == pytest.approx(0.1)
    assert (metric.difference.low, metric.difference.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert metric.differs
    assert metric.best is None  # of a metric without a direction
    assert (replace(metric, better="higher").best, replace(metric, better="lower").best) == (0, 1)
    assert metric.first.high - metric.first.low > 0.5
    alone = bootstrap(mean_of(errors), 200, resamples=300).metrics["error"]  # the same draws
    assert (metric.first.low, metric.first.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_the_interval_has_the_width_of_the_difference() -> None:
    torch.manual_seed(0)
    shared, own = torch.randn(400, dtype=torch.double), torch.randn(400, dtype=torch.double)
    rows = torch.arange(400)
    (metric,) = paired_bootstrap((mean_of(5 * shared + own), mean_of(5 * shared)), (rows, rows), resamples=600)
    assert metric.difference.high - metric.difference.low == pytest.approx(2 * 1.96 * own.std().item() / 20, rel=0.12)


def test_inputs_are_matched_by_their_numbers() -> None:
    """The second model has the same values in another order."""
    values, order = torch.arange(6.0), torch.tensor([3, 1, 5, 0, 2, 4])
    rows = torch.arange(6), torch.tensor([int((order == i).nonzero()) for i in range(6)])
    (metric,) = paired_bootstrap((mean_of(values), mean_of(values[order])), rows, resamples=50)
    assert (metric.difference.low, metric.difference.value, metric.difference.high) == (0, 0, 0)
    assert not metric.differs
    assert replace(metric, better="lower").best is None
    changed = values[order].clone()
    changed[rows[1][4]] += 2.0
    changed[rows[1][1]] -= 1.0
    headline, largest = largest_differences((mean_of(values), mean_of(changed)), rows, list("abcdef"))
    assert headline == "error"
    assert [(one.name, one.first - one.second) for one in largest] == [("e", -2.0), ("b", 1.0)]


def test_metrics_that_are_not_defined() -> None:
    rows = torch.arange(4)

    def sometimes(index: torch.Tensor) -> dict[str, float]:
        return {"rare": 1.0, "mean": 2.0} if len(index) > 1 else {"mean": 2.0}

    metrics = paired_bootstrap((sometimes, sometimes), (rows, rows), resamples=5)
    assert [metric.name for metric in metrics] == ["rare", "mean"]
    assert largest_differences((sometimes, sometimes), (rows, rows), list("abcd")) == ("mean", ())
    with pytest.raises(ConfigError, match="no metric in common"):
        paired_bootstrap((mean_of(rows.double()), mean_of(rows.double(), "other")), (rows, rows))


def detector(seed: int) -> Predictor:
    torch.manual_seed(seed)
    net = saccade.create("yolo_small", num_classes=3, image_size=64)
    return predictor_of(
        LoadedModel(net, "yolo", ("cell", "plate", "unused"), detector_preprocessing(net), task="detection"),
        options={"threshold": 0.0},
    )


def test_two_detectors(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = str(write_coco(tmp_path / "cells"))
    for name, seed in (("a", 0), ("b", 1)):
        saccade.save(detector(seed), name)
    assert main(["compare", "a", "b", data, "--resamples", "20", "--pictures", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    metrics = {metric["name"]: metric for metric in result["metrics"]}
    for name, number in (("a", "first"), ("b", "second")):
        measured = saccade.evaluate(name, data).metrics.scalars()
        assert metrics["AP"][number]["value"] == pytest.approx(measured["AP"])
    assert metrics["AP50"]["difference"]["value"] == pytest.approx(
        metrics["AP50"]["first"]["value"] - metrics["AP50"]["second"]["value"]
    )
    assert {metric["better"] for metric in metrics.values()} == {"higher"}
    page = Path("compare.html").read_text()
    for part in ("Metrics", "AP50", "forward pass", "Largest differences", "saccade compare a b"):
        assert part in page
    assert 'src="http' not in page
    same = compare_metrics(saccade.load("a"), saccade.load("a"), data, resamples=5)
    assert all(metric.difference.value == metric.difference.low == 0 for metric in same.metrics)
    assert not same.largest
    np.testing.assert_array_equal(np.array([row[7:] for row in same.rows()], dtype=float), 0)


def test_refusals() -> None:
    first = created("vit_digits", "classification")
    with pytest.raises(ConfigError, match="models of one task"):
        compare_metrics(first, created("dpt_small", "depth"), "digits")
    other = created("vit_digits", "classification")
    other.labels = tuple("abcdefghij")
    with pytest.raises(ConfigError, match="different classes"):
        compare_metrics(first, other, "digits")


GOLDEN = Path(__file__).parents[1] / "golden" / "runs"


def test_losses_of_different_targets_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Pixels and colours, or tokens of two vocabularies; of generated texts the other metrics remain."""
    pytest.importorskip("tokenizers")
    names = ("pretrain_pixels", "pretrain_colours", "translate_texts")
    pixels, colours, texts = (str(GOLDEN / name / "model") for name in names)
    page = str(tmp_path / "compare.html")
    assert main(["compare", pixels, colours, "digits", "-o", page]) == 2
    message = capsys.readouterr().err
    assert re.search("no metric in common: one model predicts .*pixels of .*, the other mean colours of", message)
    other = Vocabulary.train(["one two three"] * 4)
    task = saccade.load(texts).task
    assert isinstance(task, Seq2SeqTask)
    assert task.incomparable_metrics(Seq2SeqTask(task.vocabulary)) == {}
    assert list(task.incomparable_metrics(Seq2SeqTask(other))) == ["loss"]
    task = saccade.load(str(GOLDEN / "words" / "model")).task
    assert isinstance(task, MaskedLMTask)
    assert task.incomparable_metrics(MaskedLMTask(task.vocabulary)) == {}
    assert list(task.incomparable_metrics(MaskedLMTask(other))) == ["loss", "accuracy"]
    values = without({"loss": "a reason"}, lambda index: {"loss": 1.0, "BLEU": 2.0})
    assert values(torch.arange(2)) == {"BLEU": 2.0}
