"""Models of other tasks as files: the table of differences, the answers and the metrics are those of the model."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.cli.main import main
from saccade.data.rle import decode_rle
from saccade.engine.images import fresh_preprocessing
from saccade.inference.export.evaluation import evaluate_exported
from saccade.inference.export.runner import open_exported
from saccade.tasks import table
from saccade.tasks.contrastive.zero_shot import ZeroShot
from saccade.tasks.loading import predictor_of
from tests.explorer.task_models import clip
from tests.inference.export.test_classifier import WITHOUT_TORCH

RUNS = Path(__file__).parents[2] / "golden/runs"
pytestmark = pytest.mark.slow
OPTIONS = {"threshold": 0.011}  # the small models are unsure


def photographs(folder: Path, sizes: list[tuple[int, int]]) -> list[str]:
    paths = [str(folder / f"{number}.png") for number in range(len(sizes))]
    for path, size in zip(paths, sizes):
        Image.fromarray(load_sample_images().images[0]).resize(size).save(path)
    return paths


@pytest.mark.parametrize("run", ["detect_detr", "detect_yolo"])
def test_detectors(run: str, tmp_path: Path) -> None:
    """Images of three sizes in one batch, of a DETR in one padded batch; each gives what it gives alone."""
    model = RUNS / run / "model"
    exported = saccade.export(model, tmp_path / "detector.onnx")
    assert exported.parity.largest < 1e-4
    assert (exported.parity.rows[-1].size == "mixed") == (run == "detect_detr")
    paths = photographs(
        tmp_path, [(120, 90), (64, 64), (60, 150), (90, 120), (33, 70), (200, 40), (64, 96), (150, 150)]
    )
    expected = saccade.load(model, options=OPTIONS)
    actual = open_exported(exported.path, table.decoder, options=OPTIONS).stream(paths, batch_size=8)
    for path, result in zip(paths, actual, strict=True):
        alone = expected.predict(path)
        assert [box.label for box in result.boxes] == [box.label for box in alone.boxes]  # type: ignore[attr-defined]
        for one, other in zip(result.boxes, alone.boxes):  # type: ignore[attr-defined]
            np.testing.assert_allclose(one.box, other.box, atol=0.02)
    of_file = evaluate_exported(exported.path, "scenes", table.room, batch_size=8, workers=0)[0].collected
    of_model = saccade.evaluate(model, "scenes", batch_size=1, workers=0).collected
    for name in ("boxes", "scores", "labels", "target_boxes"):
        np.testing.assert_allclose(of_file[name], of_model[name], atol=1e-3)


def test_masks_of_a_detector(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"masks": True, "num_classes": 3, "encoder_depth": 1, "decoder_depth": 1, "num_queries": 4}
    model = saccade.create("detr_small", options=options).eval()
    source = LoadedModel(model, "detr", ("a", "b", "c"), fresh_preprocessing(model), "detection")
    predictor = predictor_of(source, options=OPTIONS)
    exported = saccade.export(predictor, tmp_path)
    assert exported.outputs == ("boxes", "scores", "labels", "masks", "logits", "mask_logits")
    (path,) = photographs(tmp_path, [(120, 90)])
    actual = open_exported(tmp_path, table.decoder, options=OPTIONS).predict(path).boxes  # type: ignore[attr-defined]
    expected = predictor.predict(path).boxes
    assert len(actual) == len(expected) == 4
    for one, other in zip(actual, expected):
        assert one.query == other.query
        pixels, right = decode_rle(one.segmentation), decode_rle(other.segmentation)
        assert 0 < right.mean() < 1
        assert (pixels != right).mean() < 1e-3  # at the edges, where a logit is near 0


def test_depth(tmp_path: Path) -> None:
    exported = saccade.export(RUNS / "depth/model", tmp_path)
    (path,) = photographs(tmp_path, [(120, 90)])
    actual, expected = (
        open_exported(tmp_path, table.decoder).predict(path),
        saccade.load(RUNS / "depth/model").predict(path),
    )
    assert exported.outputs == ("depth",)
    assert actual.unit == expected.unit  # type: ignore[attr-defined]
    np.testing.assert_allclose(actual.depth, expected.depth, atol=1e-5)  # type: ignore[attr-defined]


def test_both_towers_of_a_clip_classify_without_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = clip()
    exported = saccade.export(predictor, tmp_path)
    assert [row.batch for row in exported.parity.rows if row.size == "texts"] == [1, 2, 5]
    (path,) = photographs(tmp_path, [(120, 90)])
    actual, expected = open_exported(tmp_path, table.decoder).predict(path), predictor.predict(path)
    np.testing.assert_allclose(actual.vector, expected.vector, atol=1e-6)  # type: ignore[attr-defined]
    labels, templates = ("three", "a large seven", "ball"), ("a photo of a {}.", "a small {}")
    right = next(ZeroShot(predictor, labels, templates).stream([path], top=2))
    options = [word for template in templates for word in ("--template", template)]
    command = ["zeroshot", str(exported.path), path, "--labels", ",".join(labels), *options, "--top", "2", "--json"]
    run = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    top = json.loads(run.stdout)[0]["top"]
    assert [one["label"] for one in top] == [label for label, _ in right.top]
    np.testing.assert_allclose([one["score"] for one in top], [score for _, score in right.top], atol=1e-5)
    assert main(["zeroshot", str(exported.path), path]) == 2
    assert "give the classes" in capsys.readouterr().err


def test_texts_are_generated_by_two_graphs_as_by_the_model(tmp_path: Path) -> None:
    predictor = saccade.load(RUNS / "translate_texts/model")
    with torch.no_grad():
        for parameter in predictor.model.parameters():  # one step of training: all texts would be one word
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    exported = saccade.export(predictor, tmp_path / "numbers.onnx")
    assert exported.parity.largest < 1e-5
    texts = ["two hundred and seven", "forty-two", "nine", "eighty"]
    expected = [result.text for result in predictor.predict(texts)]
    actual = open_exported(exported.path, table.decoder).stream(texts, batch_size=3)
    assert [result.text for result in actual] == expected  # type: ignore[attr-defined]
    assert len(set(expected)) > 1
    of_file = evaluate_exported(exported.path, "numbers", table.room, batch_size=3, workers=0)[0]
    of_model = saccade.evaluate(predictor, "numbers", workers=0)
    assert of_file.metrics.scalars() == pytest.approx(of_model.metrics.scalars(), abs=1e-5)
    for name in ("generated", "loss"):
        torch.testing.assert_close(of_file.collected[name], of_model.collected[name], atol=1e-4, rtol=1e-5)
    assert (tmp_path / "numbers-step.onnx").is_file()
