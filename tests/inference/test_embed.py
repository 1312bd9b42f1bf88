"""`saccade embed` and `Predictor.embed`: the vector in front of the head, of each image as it is alone."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.checkpoints.directory import save_model_dir
from saccade.cli.main import main
from saccade.engine.embedding import require_embedding
from saccade.errors import ConfigError
from saccade.tasks.loading import predictor_of
from tests.analysis.families import build
from tests.serving.conftest import photographs, small_source


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five images, the last of which is damaged."""
    monkeypatch.chdir(tmp_path)
    return photographs(tmp_path / "photos", 4)


def test_a_file_of_vectors(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = small_source()
    save_model_dir(tmp_path / "model", source)
    arguments = ["embed", "model", "photos", "--batch-size", "3", "--out"]
    assert main([*arguments, "vectors.parquet"]) == 1
    assert "5 inputs, 1 cannot be read (vectors-errors.csv): vectors.parquet" in capsys.readouterr().err
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table("vectors.parquet")
    assert table.schema.field("embedding").type.value_type == "float"
    assert table["image"].to_pylist() == [f"photos/{seed}.png" for seed in range(4)]
    predictor = predictor_of(source)
    stack = torch.stack([predictor.prepare(photos / f"{seed}.png") for seed in range(4)])
    with torch.inference_mode():
        expected = source.model.embed(stack).numpy()
    assert np.allclose(np.array(table["embedding"].to_pylist()), expected, atol=1e-5)

    assert main([*arguments, "unit.csv", "--normalize"]) == 1
    header, *rows = csv.reader(Path("unit.csv").read_text().splitlines())
    assert header == ["image", *(f"x{i}" for i in range(32))]
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(np.array([row[1:] for row in rows], float), unit, atol=1e-5)
    assert main([*arguments, "unit.csv"]) == 2
    assert "unit-job.json is of another job" in capsys.readouterr().err
    assert main([*arguments, "lines.jsonl", "--shard", "0/1"]) == 1
    lines = [json.loads(line) for line in Path("lines.jsonl").read_text().splitlines()]
    assert np.allclose([line["embedding"] for line in lines], expected, atol=1e-5)


def test_one_image_and_several() -> None:
    predictor = build("clip")
    images = np.random.default_rng(0).integers(0, 255, (3, 40, 50, 3), np.uint8)
    vectors = predictor.embed(images, batch_size=2, normalize=True)
    assert vectors.shape == (3, predictor.model.num_features)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(predictor.embed(images[1], normalize=True), vectors[1], atol=1e-6)


def test_images_of_different_sizes_are_not_padded() -> None:
    """A detector keeps their aspect ratios: in a batch of predictions they are padded to the largest."""
    predictor = build("detr")
    images = [
        Image.fromarray(np.random.default_rng(w).integers(0, 255, (64, w, 3), np.uint8)) for w in (64, 96, 96, 64)
    ]
    together = predictor.embed(images)
    assert all(np.allclose(predictor.embed(one), row, atol=1e-5) for one, row in zip(images, together))


@pytest.mark.parametrize("name", ["bert", "bytes"])
def test_models_of_texts_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="reads texts, and only images are embedded"):
        require_embedding(build(name))


def test_refusals(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model_dir(tmp_path / "model", small_source())
    assert main(["embed", "model", "photos"]) == 2
    assert main(["embed", "model", "photos", "--out", "a.npy"]) == 2
    assert main(["embed", "model", "photos", "--out", "a.csv", "--max-pixels", "0"]) == 2
    (tmp_path / "model.onnx").write_bytes(b"")
    assert main(["embed", "model.onnx", "photos", "--out", "a.csv"]) == 2
    err = capsys.readouterr().err
    for text in ("--out", "a.npy: the file must end in", "--max-pixels must be at least 1", "needs the model that"):
        assert text in err
