"""The README's own model in every project whose library can hold it, and refusals that name options."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torchvision.models import VisionTransformer
from transformers import AutoModelForImageClassification

import saccade
from saccade.checkpoints.convert import convert
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError


def saved(path: Path, options: dict[str, Any], in_channels: int = 1) -> Path:
    """The model of the README with other options."""
    torch.manual_seed(0)
    model = saccade.create("vit_digits", in_channels=in_channels, options=options).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    half = (0.5,) * in_channels
    preprocessing = Preprocessing((8, 8), "shortest", 1.0, channels=in_channels, mean=half, std=half)
    return save_model_dir(path, LoadedModel(model, "vit", tuple("0123456789"), preprocessing))


def agree(path: Path, published: torch.nn.Module, channels: int = 1) -> None:
    images = torch.randn(2, channels, 8, 8)
    with torch.no_grad():
        ours, theirs = load_model(path).model(images), published.eval()(images)
    theirs = theirs if isinstance(theirs, torch.Tensor) else theirs.logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * ours.abs().max().item())


KINDS = ["sincos_2d", "sincos_1d", "sincos_2d_endpoint", "none", "fourier", "learned"]


@pytest.mark.parametrize("positions", KINDS)
def test_timm_holds_it(positions: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model", {"positions": positions})
    notes = convert(path, tmp_path / "timm", "timm")
    assert any("are written as a table for 8 x 8 pixels" in note for note in notes) == (positions != "learned")
    agree(path, timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True))


@pytest.mark.parametrize("positions", KINDS)
def test_transformers_holds_it(positions: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model", {"positions": positions})
    convert(path, tmp_path / "hf", "huggingface")
    agree(path, AutoModelForImageClassification.from_pretrained(tmp_path / "hf"))


def test_torchvision_holds_it_in_colour(tmp_path: Path) -> None:
    path = saved(tmp_path / "model", {}, in_channels=3)
    convert(path, tmp_path / "tv.pth", "torchvision")
    published = VisionTransformer(8, 2, 4, 4, 64, 128, num_classes=10)
    published.load_state_dict(torch.load(tmp_path / "tv.pth"))
    agree(path, published, channels=3)


REFUSED = [
    ("torchvision", {}, r"torchvision has no vit with in_channels=1 \(it has in_channels: 3\)"),
    ("huggingface", {"num_registers": 2}, r"huggingface has no vit with num_registers=2"),
    (
        "huggingface",
        {"block.layer_scale": 0.1},
        r"huggingface has no vit with pooling='cls' \(it has pooling: cls\+mean",
    ),
    ("huggingface", {"class_token": False, "pooling": "mean"}, r"huggingface has no vit with class_token=False"),
    ("huggingface", {"pooling": "attention"}, r"huggingface has no vit with pooling='attention'"),
    ("huggingface", {"pooling": "mean", "pool_norm": False}, r"does not support pooling: 'mean' would become 'cls'"),
    ("huggingface", {"positions": "rotary"}, r"no other format has a vit with positions='rotary'"),
    ("timm", {"positions": "rotary"}, r"no other format has a vit with positions='rotary'"),
    ("torchvision", {"positions": "rotary"}, r"no other format has a vit with positions='rotary'"),
    ("timm", {"pooling": "cls+mean"}, r"timm has no vit with pooling='cls\+mean'"),
    ("timm", {"block.norm_eps": 1e-3}, r"does not support block.norm_eps"),
]


@pytest.mark.parametrize(("to", "options", "message"), REFUSED)
def test_a_refusal_names_options(to: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "model", options)
    out = tmp_path / ("out.pth" if to == "torchvision" else "out")
    with pytest.raises(CheckpointError, match=message) as error:
        convert(path, out, to)
    assert "encoder." not in str(error.value)
    assert not out.exists()
