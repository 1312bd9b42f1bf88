"""Preprocessing as other projects write it down, against what their own code does with the same picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.formats import huggingface_detr
from saccade.checkpoints.metadata import CheckpointMetadata, read_processor
from saccade.checkpoints.processors import from_huggingface, from_timm, to_huggingface, to_timm
from saccade.data.preprocessing import Preprocessing
from saccade.errors import CheckpointError
from tests.parity.cases import SMALL_VIT

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


SIZES = [(130, 90), (90, 130), (270, 90), (101, 37), (640, 480), (64, 64)]  # width, height
EVERY_SIZE: dict[str, tuple[str, dict]] = {
    "DETR, edges": ("DetrImageProcessor", {"size": {"shortest_edge": 80, "longest_edge": 133}, "do_pad": False}),
    "DETR, fixed": ("DetrImageProcessor", {"size": {"height": 96, "width": 128}, "do_pad": False}),
    "DETR, largest": ("DetrImageProcessor", {"size": {"max_height": 96, "max_width": 128}, "do_pad": False}),
    "DETR, not normalised": ("DetrImageProcessor", {
        "size": {"shortest_edge": 80, "longest_edge": 133}, "do_normalize": False, "do_pad": False,
    }),
    "ViT, a number": ("ViTImageProcessor", {"size": 48}),
    "ViT, not square": ("ViTImageProcessor", {"size": {"height": 48, "width": 64}, "resample": 3}),
    "CLIP, a number": ("CLIPImageProcessor", {"size": 56, "crop_size": 48}),
    "DPT": ("DPTImageProcessor", {
        "size": {"height": 96, "width": 96}, "keep_aspect_ratio": True, "ensure_multiple_of": 32, "resample": 3,
    }),
    "DPT, squeezed": ("DPTImageProcessor", {"size": {"height": 90, "width": 90}, "ensure_multiple_of": 32}),
    "no rescaling": ("ViTImageProcessor", {"size": 48, "do_rescale": False, "do_normalize": False}),
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", EVERY_SIZE)
def test_every_form_of_size_and_every_switch(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    """In the file of version 4 of the library, and nested in that of version 5."""
    transformers = pytest.importorskip("transformers")
    kind, options = EVERY_SIZE[name]
    processor = getattr(transformers, kind)(**options)
    processor.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "5").mkdir()
    (tmp_path / "5" / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    image = picture().resize(size)
    expected = processor(image, return_tensors="pt").pixel_values[0]
    for folder in (tmp_path, tmp_path / "5"):
        metadata = CheckpointMetadata(processor=read_processor(folder))
        ours = (
            huggingface_detr.preprocessing(Channels(), metadata)  # type: ignore[arg-type]  # all that it reads
            if "DETR" in name
            else from_huggingface((48, 48), 3, metadata)
        )
        pixels = ours(image)
        assert pixels.shape == expected.shape
        assert (pixels - expected).abs().mean() < 1 / 255 * max(ours.value_range) / min(ours.std)


class Channels:
    in_channels = 3


def test_one_number_beside_the_longest_side() -> None:
    """`size` and `max_size` of the first files of DETR."""
    processor = {"image_processor_type": "DetrImageProcessor", "size": 80, "max_size": 133}
    ours = huggingface_detr.preprocessing(Channels(), CheckpointMetadata(processor=processor))  # type: ignore[arg-type]
    assert ours(Image.new("RGB", (270, 90))).shape == (3, 44, 133)


def test_the_official_dpt_keeps_the_aspect_ratio() -> None:
    size = {"height": 384, "width": 384}
    processor = {"size": size, "keep_aspect_ratio": True, "ensure_multiple_of": 32, "resample": 3}
    ours = from_huggingface((384, 384), 3, CheckpointMetadata(processor=processor))
    assert ours(Image.new("RGB", (640, 480))).shape == (3, 384, 512)


@pytest.mark.parametrize("options", [
    {"resample": 5}, {"size": {"height": 32, "width": 32}, "do_center_crop": True, "crop_size": 48},
])  # fmt: skip
def test_what_is_not_supported_is_refused(options: dict) -> None:
    with pytest.raises(CheckpointError, match=r"resample|crops"):
        from_huggingface((48, 48), 3, CheckpointMetadata(processor=options))


def test_what_is_not_obeyed_is_a_note() -> None:
    metadata = CheckpointMetadata(processor={"do_resize": False})
    from_huggingface((48, 48), 3, metadata)
    assert "do_resize" in metadata.notes[0]


def classifier(folder: Path, problem: str, labels: int) -> Any:
    """A small ViT of transformers with random weights and this kind of head."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(**SMALL_VIT, num_labels=labels, problem_type=problem)
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    return model


@torch.no_grad()
def test_a_head_of_one_number_gives_the_number(tmp_path: Path) -> None:
    model = classifier(tmp_path, "regression", 1)
    image = picture()
    predictor = saccade.load(tmp_path)
    assert predictor.source.preprocessing is not None
    expected = model(predictor.source.preprocessing(image)[None]).logits.item()
    assert predictor.predict(image).value == pytest.approx(expected, abs=1e-5)


def test_a_head_of_several_numbers_is_refused(tmp_path: Path) -> None:
    classifier(tmp_path, "regression", 3)
    with pytest.raises(CheckpointError, match="3 numbers"):
        saccade.load(tmp_path)
