"""Preprocessing as other projects write it down, against what their own code does with the same picture."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.checkpoints.metadata import CheckpointMetadata
from saccade.checkpoints.processors import from_huggingface, from_timm, to_huggingface, to_timm
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError

CROP = {"height": 48, "width": 48}
PROCESSORS = {
    "squeezed": ("ViTImageProcessor", {"size": {"height": 48, "width": 48}}),
    "squeezed, then cropped": ("DeiTImageProcessor", {"size": {"height": 64, "width": 64}, "crop_size": CROP}),
    "covered, then cropped": ("BitImageProcessor", {"size": {"shortest_edge": 56}, "crop_size": CROP}),
    "ConvNeXt's": ("ConvNextImageProcessor", {"size": {"shortest_edge": 48}, "crop_pct": 0.875}),
    "ConvNeXt's, large": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
}  # fmt: skip


def picture() -> Image.Image:
    """Smooth waves, so that what is compared is geometry and not how noise is rounded."""
    y, x = np.mgrid[:90, :130] / 12.0
    waves = [np.sin(x) * np.cos(y), np.sin(x + y), np.cos(0.5 * x - y)]
    return Image.fromarray(((np.stack(waves, axis=-1) + 1) * 127).astype(np.uint8))


@pytest.mark.parametrize("case", PROCESSORS)
def test_hugging_faces_processors(case: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    name, options = PROCESSORS[case]
    theirs = getattr(transformers, name)(**options)
    theirs.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text())
    ours = from_huggingface((48, 48), 3, CheckpointMetadata(processor=config))
    expected = theirs(picture(), return_tensors="pt").pixel_values[0]
    pixels = ours(picture())
    assert pixels.shape == expected.shape
    # Two resampling codes: values may differ by a few of 255 steps at single pixels.
    assert (pixels - expected).abs().max() < 6 / 255 / min(ours.std)
    assert (pixels - expected).abs().mean() < 1 / 255 / min(ours.std)


@pytest.mark.parametrize("resize", ["exact", "shortest"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875, 224 / 236])
def test_there_and_back(resize, crop_pct: float) -> None:
    ours = Preprocessing((224, 224), resize, crop_pct, "bilinear", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    assert from_huggingface((224, 224), 3, CheckpointMetadata(processor=to_huggingface(ours))) == ours
    assert from_timm((224, 224), 3, CheckpointMetadata(config={"pretrained_cfg": to_timm(ours)})) == ours


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_timms_transforms(crop_mode: str) -> None:
    data = pytest.importorskip("timm.data")
    config = {"crop_mode": crop_mode, "crop_pct": 0.9 if crop_mode != "border" else 1.0, "interpolation": "bicubic"}
    config |= {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    theirs = data.create_transform((48, 48), is_training=False, **config)
    ours = from_timm((48, 48), 3, CheckpointMetadata(config={"pretrained_cfg": config}))
    assert ours is not None
    pixels, expected = ours(picture()), theirs(picture())
    torch.testing.assert_close(pixels, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 255.0)])
def test_the_value_range_is_exported(value_range: tuple[float, float], tmp_path: Path) -> None:
    transformers, data = pytest.importorskip("transformers"), pytest.importorskip("timm.data")
    ours = Preprocessing(
        (48, 48), "exact", 1.0, "bilinear", value_range=value_range, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)
    )
    image = picture().resize((48, 48))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(to_huggingface(ours)))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path)
    expected = processor(image, return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(ours(image), expected, atol=1e-5 * value_range[1], rtol=1e-5)
    theirs = to_timm(ours)
    keys = ("interpolation", "crop_pct", "crop_mode", "mean", "std")
    expected = data.create_transform(theirs["input_size"], is_training=False, **{key: theirs[key] for key in keys})
    torch.testing.assert_close(ours(image), expected(image), atol=1e-5 * value_range[1], rtol=1e-5)


def test_a_processor_that_does_not_rescale(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    for options in ({"do_rescale": False}, {"rescale_factor": 1 / 127.5}):
        theirs = transformers.ViTImageProcessor(size={"height": 48, "width": 48}, **options)
        ours = from_huggingface((48, 48), 3, CheckpointMetadata(processor=theirs.to_dict()))
        image = picture().resize((48, 48))
        torch.testing.assert_close(
            ours(image), theirs(image, return_tensors="pt").pixel_values[0], atol=1e-4, rtol=1e-5
        )


@pytest.mark.parametrize("size", [(130, 90), (90, 130), (101, 37), (48, 48), (31, 32)])
def test_timm_pads_and_does_not_crop(size: tuple[int, int]) -> None:
    data = pytest.importorskip("timm.data")
    ours = Preprocessing((48, 48), "pad", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))  # its crop_pct is not used
    config = to_timm(ours)
    keys = ("interpolation", "crop_pct", "crop_mode", "mean", "std")
    theirs = data.create_transform(config["input_size"], is_training=False, **{key: config[key] for key in keys})
    image = picture().resize(size)
    torch.testing.assert_close(ours(image), theirs(image), atol=1e-5, rtol=0)


def test_what_has_no_processor_is_said() -> None:
    with pytest.raises(CheckpointError, match="no processor"):
        to_huggingface(Preprocessing((32, 32), "pad"))
    with pytest.raises(CheckpointError, match="no transform"):
        to_timm(Preprocessing((32, 32), "range"))
