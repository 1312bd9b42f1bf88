"""How far heads look: known numbers, every family of models, a data set."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.attention_distance import attention_distance, measure_attention_distance, query_distances
from saccade.analysis.inputs import open_images
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError, RecordingError
from saccade.models.zoo import architecture_of
from saccade.nn.tokens import TokenLayout


@pytest.mark.parametrize(("side", "pixels"), [(14, 116.49), (24, 200.05)])
def test_uniform_attention(side: int, pixels: float) -> None:
    layout = TokenLayout(1, (side, side), (16, 16))
    weights = torch.full((1, 1, layout.num_tokens, layout.num_tokens), 1 / layout.num_tokens)
    assert attention_distance({"a": weights}, layout).pixels.item() == pytest.approx(pixels, abs=0.005)


def test_identity_and_a_corner() -> None:
    layout = TokenLayout(0, (14, 14), (16, 16))
    assert attention_distance({"a": torch.eye(196)[None, None]}, layout).pixels.item() == 0
    uniform = query_distances(torch.full((196, 196), 1 / 196), layout)
    for row, column in ((0, 0), (0, 13), (13, 0), (13, 13)):
        assert uniform[layout.index(row, column)].item() == pytest.approx(161.03, abs=0.005)


def test_spread_is_over_images() -> None:
    layout = TokenLayout(0, (1, 2), (10, 10))
    own, other = torch.eye(2), torch.eye(2).flip(0)
    distance = attention_distance({"a": torch.stack((own, other))[:, None]}, layout)
    assert (distance.pixels.item(), distance.spread.item()) == (5, 5)
    assert distance.rows() == [(0, "a", 0, 5.0, 5.0, 2)]


def save(path: Path, name: str, image_size: int, channels: int = 3, num_classes: int = 3) -> Path:
    """A model of a family with random weights, in a directory."""
    torch.manual_seed(0)
    net = saccade.create(name, image_size=image_size, num_classes=num_classes)
    normal = ((0.5,) * channels, (0.5,) * channels)
    size = (image_size, image_size)
    preprocessing = Preprocessing(size, channels=channels, mean=normal[0], std=normal[1])
    labels = tuple(f"c{i}" for i in range(num_classes))
    save_model_dir(path / name, LoadedModel(net, architecture_of(name), labels, preprocessing))
    return path / name


FAMILIES = [
    ("vit_digits", 8, 1, 3), ("conv_vit_digits", 8, 1, 3), ("mae_digits", 8, 1, 0), ("masked_vit_digits", 8, 1, 0),
    ("detr_small", 64, 3, 3), ("deit_ti16", 32, 3, 3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "size", "channels", "classes"), FAMILIES)
def test_families(tmp_path: Path, name: str, size: int, channels: int, classes: int) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        Image.effect_noise((size, size), 80).convert("RGB").save(folder / f"{i}.png")
    predictor = saccade.load(save(tmp_path, name, size, channels, classes))
    images = open_images(predictor, str(folder / "*.png"), batch_size=2)
    distance = measure_attention_distance(predictor, images)
    assert distance.per_image.shape[0] == images.count == 3
    diagonal = size * math.sqrt(2)
    assert ((distance.pixels > 0) & (distance.pixels < diagonal)).all()
    assert np.isfinite(distance.spread).all()


def test_a_network_without_attention_is_refused(tmp_path: Path) -> None:
    Image.effect_noise((32, 32), 80).save(tmp_path / "a.png")
    predictor = saccade.load(save(tmp_path, "lenet", 32, 1))
    with pytest.raises(RecordingError, match="no attention"):
        measure_attention_distance(predictor, open_images(predictor, str(tmp_path / "a.png")))


def test_the_images_of_a_data_set(tmp_path: Path) -> None:
    predictor = saccade.load(save(tmp_path, "vit_digits", 8, 1, 10))
    predictor.labels = tuple("0123456789")
    everything = open_images(predictor, "digits", batch_size=50, limit=120)
    names = [name for batch in everything.batches for name in batch.names]
    assert len(names) == len(set(names)) == everything.count == 120
    with pytest.raises(ConfigError, match="at least 1"):
        open_images(predictor, "digits", limit=0)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(save(tmp_path, "vit_digits", 8, 1))
    for i in range(3):
        Image.effect_noise((20, 20), 80).save(tmp_path / f"{i}.png")
    command = ["analyze", "distance", model, "*.png"]
    assert main([*command, "-o", "out"]) == 0
    assert "3 images" in capsys.readouterr().out
    assert sorted(p.name for p in Path("out").iterdir()) == ["distance.csv", "distance.json", "distance.png"]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path("out/distance.json").read_text())
    assert main([*command, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 16
    assert float(rows[0]["mean_pixels"]) == printed["mean_pixels"][0][0]
    assert not Path("distance.png").exists()  # numbers were printed, and nothing was to be drawn
    for wrong, message in ((["--json", "--csv"], "choose"), (["-o", "a.gif"], "--output"), (["-o", "x/a.png"], "x")):
        assert main([*command, *wrong]) == 2
        assert message in capsys.readouterr().err
