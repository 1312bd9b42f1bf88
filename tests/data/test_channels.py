"""Images with any number of channels, .npy and TIFF: a folder of them trains, and is predicted."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import saccade
from saccade.data.image_formats import image_size
from saccade.data.images import grey_image, read_image, rgb_pixels, stored_channels
from saccade.errors import ConfigError, ImageError
from saccade.runs import fitted_config
from saccade.tasks import table
from saccade.tasks.loading import predictor_of
from saccade.training.config import AugmentationConfig, DataConfig, ModelConfig, RunConfig, ScheduleConfig
from tests.running import train

SMALL = ModelConfig(name="resnet18_small", image_size=(16, 16), in_channels=5, options={"width": 8})


def write_npy(path: Path, bands: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), bands)


def write_contiguous(path: Path, bands: np.ndarray) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), bands, photometric="minisblack", planarconfig="contig")


def write_planes(path: Path, bands: np.ndarray) -> None:
    tifffile.imwrite(
        path.with_suffix(".tif"), np.moveaxis(bands, -1, 0), photometric="minisblack", planarconfig="separate"
    )


def write_pages(path: Path, bands: np.ndarray) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), np.moveaxis(bands, -1, 0), photometric="minisblack")


WRITERS = [write_npy, write_contiguous, write_planes, write_pages]


def bands_of(brightest: int, seed: int, channels: int = 5) -> np.ndarray:
    """Bands ``[20, 24, channels]`` uint16, one of them brighter than the others."""
    pixels = np.random.default_rng(seed).integers(0, 100, (20, 24, channels)).astype(np.uint16) * 257
    pixels[..., brightest] += 100 * 257
    return pixels


def folder(root: Path, write: Callable[[Path, np.ndarray], None], count: int = 12) -> Path:
    """Two classes, which differ in the last two bands."""
    for number, name in enumerate(("crop", "water")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            write(root / name / str(i), bands_of(3 + number, i))
    return root


def config_for(path: Path, **changes) -> RunConfig:
    base = RunConfig(
        data=DataConfig(path=str(path)), model=SMALL, schedule=ScheduleConfig(epochs=8), batch_size=8,
        augmentation=AugmentationConfig(crop_scale=(0.6, 1.0), flip=0.5),
        options=table.config_class("classification")(),
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize("write", WRITERS)
def test_files_keep_their_bands(write: Callable, tmp_path: Path) -> None:
    bands = bands_of(4, 0)
    write(tmp_path / "a", bands)
    path = next(tmp_path.iterdir())
    values = np.asarray(read_image(path, channels=5))
    np.testing.assert_allclose(values, np.moveaxis(bands, -1, 0) / 65535, atol=1e-6)
    assert stored_channels(path.read_bytes()) == 5
    with pytest.raises(ImageError, match=r"a\.\w+ has 5 channels, the model expects 3: .*model.in_channels=5"):
        read_image(path)


@pytest.mark.parametrize("write", WRITERS)
def test_a_folder_of_them_is_checked(write: Callable, tmp_path: Path) -> None:
    report = table.room("classification").check(str(folder(tmp_path / "data", write)))
    assert report.ok
    assert "images of 5 channels: train with --set model.in_channels=5" in report.notes


def test_a_folder_of_all_of_them_trains_and_is_predicted(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", lambda path, bands: WRITERS[int(path.name) % len(WRITERS)](path, bands))
    result = train(config_for(data), output=tmp_path / "run")
    predictor = saccade.load(result.run.path)
    files = sorted((data / "water").iterdir())
    assert [predictor.predict(path).label for path in files] == ["water"] * len(files)


def test_segmentation_and_detection_read_them(tmp_path: Path) -> None:
    for name in ("images", "masks", "yolo/images/train", "yolo/labels/train"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "classes.json").write_text(json.dumps(["ground", "water"]))
    (tmp_path / "yolo/data.yaml").write_text("path: .\ntrain: images/train\nval: images/train\nnames: [boat]\n")
    for i in range(6):
        write_contiguous(tmp_path / f"images/{i}", bands_of(4, i))
        write_contiguous(tmp_path / f"yolo/images/train/{i}", bands_of(4, i))
        (tmp_path / f"yolo/labels/train/{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
        Image.fromarray(np.full((20, 24), i % 2, np.uint8)).save(tmp_path / f"masks/{i}.png")
    assert image_size(tmp_path / "yolo/images/train/0.tif") == (24, 20)
    augmentation = AugmentationConfig(flip=0.5, crop_scale=(0.5, 1.0))
    for task, path, name in (
        ("segmentation", tmp_path, "dpt_small_seg"),
        ("detection", tmp_path / "yolo", "yolo_small"),
    ):
        assert table.room(task).check(str(path)).ok
        config = RunConfig(
            task=task, data=DataConfig(path=str(path)), model=ModelConfig(name=name, in_channels=5), batch_size=2,
            schedule=ScheduleConfig(steps=1), augmentation=augmentation,
            options=table.config_class(task)(),
        )  # fmt: skip
        setup = table.room(task).setup(config, "cpu")  # type: ignore[arg-type]
        batch, _ = setup.train.collate([setup.train[(0, (0, 0, 0, 0))]])
        assert batch.inputs.shape[1] == 5
        predictor = predictor_of(setup.start)
        file = next((path / "images").rglob("*.tif"))
        assert predictor.predict(file) is not None


def test_mixed_numbers_of_channels_are_named(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", write_npy)
    write_npy(data / "crop/other", bands_of(0, 0, channels=4))
    report = table.room("classification").check(str(data))
    assert list(report.broken) == ["crop/other.npy"]
    assert "has 4 channels, the model expects 5" in report.broken["crop/other.npy"]


def test_pictures_are_refused_by_a_model_of_more_channels() -> None:
    with pytest.raises(ImageError, match=r"digits/.* has 1 channel, the model expects 5"):
        train(config_for(Path("digits")))


def test_augmentation_of_colours_is_refused_or_left_out(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", write_npy, count=4)
    config = config_for(data, augmentation=AugmentationConfig(color_jitter=0.4))
    with pytest.raises(ConfigError, match=r"augmentation.color_jitter needs grey or RGB images, .* 5 channels"):
        train(config)
    fitted, lines = fitted_config(config, {"model.image_size"})
    assert not fitted.augmentation.color_jitter
    assert any("no color_jitter" in line and "5 channels" in line for line in lines)
    kept, _ = fitted_config(config, {"augmentation.color_jitter", "model.image_size"})
    assert kept.augmentation.color_jitter == 0.4


def test_pages_of_a_document_are_no_bands(tmp_path: Path) -> None:
    page = Image.new("L", (12, 10), 100)
    page.save(tmp_path / "scan.tif", save_all=True, append_images=[page, page])
    assert stored_channels((tmp_path / "scan.tif").read_bytes()) == 3
    assert read_image(tmp_path / "scan.tif").size == (12, 10)
    Image.new("RGBA", (12, 10)).save(tmp_path / "picture.tif")
    assert stored_channels((tmp_path / "picture.tif").read_bytes()) == 3


@pytest.mark.parametrize(
    ("shape", "channels"), [((4, 6), 3), ((4, 6, 1), 3), ((4, 6, 3), 3), ((4, 6, 4), 4), ((4, 6, 5), 5), ((4, 6, 2), 2)]
)
def test_channels_of_arrays(shape: tuple[int, ...], channels: int) -> None:
    file = io.BytesIO()
    np.save(file, np.zeros(shape, np.uint8))
    assert stored_channels(file.getvalue()) == channels
    assert stored_channels(file.getvalue()[:20]) == 3  # damaged: an error when it is read


def test_channels_of_pictures() -> None:
    assert grey_image(np.zeros((4, 6), np.uint8), 1, "a").mode == "L"
    for kind, mode in (("PNG", "RGBA"), ("JPEG", "L"), ("TIFF", "L"), ("TIFF", "RGB"), ("TIFF", "CMYK")):
        file = io.BytesIO()
        Image.new(mode, (6, 4)).save(file, kind)
        assert stored_channels(file.getvalue()) == 3
        assert read_image(file.getvalue()).mode == "RGB"


def test_other_images_are_shown_in_grey() -> None:
    values = np.zeros((4, 6, 5), np.uint8)
    values[..., 0] = 200
    np.testing.assert_array_equal(rgb_pixels(read_image(values, channels=5)), np.full((4, 6, 3), 200))
