"""Models of other tasks as files: the table of differences, the answers and the metrics are those of the model."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import saccade
from saccade.inference.export.evaluation import evaluate_exported
from saccade.inference.export.runner import open_exported
from saccade.tasks import table
from tests.explorer.task_models import clip

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
    """Images of three sizes in one batch; of a DETR in one padded batch."""
    model = RUNS / run / "model"
    exported = saccade.export(model, tmp_path / "detector.onnx")
    assert exported.parity.largest < 1e-4
    assert (exported.parity.rows[-1].size == "mixed") == (run == "detect_detr")
    paths = photographs(tmp_path, [(120, 90), (64, 64), (60, 150)])
    expected = saccade.load(model, options=OPTIONS)
    actual = open_exported(exported.path, table.decoder, options=OPTIONS).stream(paths)
    for path, result in zip(paths, actual, strict=True):
        alone = expected.predict(path)
        assert [box.label for box in result.boxes] == [box.label for box in alone.boxes]  # type: ignore[attr-defined]
        for one, other in zip(result.boxes, alone.boxes):  # type: ignore[attr-defined]
            np.testing.assert_allclose(one.box, other.box, atol=0.02)
    of_file = evaluate_exported(exported.path, "scenes", table.room, batch_size=4, workers=0)[0].collected
    of_model = saccade.evaluate(model, "scenes", batch_size=1 if run == "detect_yolo" else 4, workers=0).collected
    for name in ("boxes", "scores", "labels", "target_boxes"):
        np.testing.assert_allclose(of_file[name], of_model[name], atol=1e-3)


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


def test_tower_of_images(tmp_path: Path) -> None:
    predictor = clip()
    saccade.export(predictor, tmp_path)
    (path,) = photographs(tmp_path, [(120, 90)])
    actual, expected = open_exported(tmp_path, table.decoder).predict(path), predictor.predict(path)
    np.testing.assert_allclose(actual.vector, expected.vector, atol=1e-6)  # type: ignore[attr-defined]
