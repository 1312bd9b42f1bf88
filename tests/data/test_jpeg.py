"""JPEGs of data sets: the bits of Pillow, and inputs as near to Pillow's as resizing allows."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import saccade.data.jpeg as jpeg_module
from saccade.data.augmentation import EvalTransform, ImageTransform, PixelTransform, TrainTransform
from saccade.data.batching import ImageDataset
from saccade.data.config import AugmentationConfig
from saccade.data.image_folder import open_data
from saccade.data.images import read_image
from saccade.data.jpeg import read_pixels
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ImageError


def picture(height: int = 75, width: int = 100, seed: int = 0) -> Image.Image:
    """Smooth colours with fine grain, as a photograph has."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((width, height), 3)
    return Image.fromarray((np.asarray(coarse) * 0.9 + random.integers(0, 26, (height, width, 3))).astype(np.uint8))


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def assert_as_pillow(data: bytes, *, tensor: bool, channels: int = 3) -> None:
    pixels, expected = read_pixels(data, channels=channels), np.asarray(read_image(data, channels=channels))
    assert isinstance(pixels, Tensor) == tensor
    if isinstance(pixels, Tensor):
        assert pixels.dtype == torch.uint8
        pixels = pixels[0] if channels == 1 else pixels.permute(1, 2, 0)
    np.testing.assert_array_equal(np.asarray(pixels), expected)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_plain_jpegs_have_the_bits_of_pillow(progressive: bool, subsampling: int) -> None:
    for size in ((75, 100), (1, 1), (17, 8)):
        data = jpeg(picture(*size), progressive=progressive, subsampling=subsampling, quality=85)
        assert_as_pillow(data, tensor=True)


def test_grey_jpegs_and_profiles_are_plain() -> None:
    grey = jpeg(picture().convert("L"))
    assert_as_pillow(grey, tensor=True)
    assert_as_pillow(grey, tensor=True, channels=1)
    assert_as_pillow(jpeg(picture(), icc_profile=b"profile" * 99), tensor=True)
    assert_as_pillow(jpeg(picture(), keep_rgb=True), tensor=True)  # stored as RGB, not as YCbCr


def test_what_is_no_plain_jpeg_is_pillows() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert_as_pillow(jpeg(picture(), exif=exif), tensor=False)
    assert_as_pillow(jpeg(picture(), xmp=b'<x:xmpmeta tiff:Orientation="3"/>'), tensor=False)
    assert_as_pillow(jpeg(picture().convert("CMYK")), tensor=False)
    assert_as_pillow(jpeg(picture()), tensor=False, channels=1)
    buffer = io.BytesIO()
    picture().save(buffer, "MPO", save_all=True, append_images=[picture(seed=1)])
    assert_as_pillow(buffer.getvalue(), tensor=False)


def test_limits_and_damage_are_those_of_read_image() -> None:
    data = jpeg(picture())
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 255
    for bad, limit in ((data[:-500], 10**6), (data[:200], 10**6), (b"\xff\xd8\xff" + b"\0" * 99, 10**6), (data, 7499)):
        errors = []
        for read in (read_pixels, read_image):
            with pytest.raises(ImageError) as error:
                read(bad, name="a.jpg", max_pixels=limit)
            errors.append(str(error.value))
        assert errors[0] == errors[1]
    assert_as_pillow(bytes(flipped), tensor=True)  # libjpeg reads on behind damaged blocks, in both libraries


def test_without_torchvisions_decoder_pillow_reads_everything(monkeypatch) -> None:
    monkeypatch.setattr(jpeg_module, "decoder", lambda: None)
    assert_as_pillow(jpeg(picture()), tensor=False)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", ["shortest", "exact", "pad", "inside"])
def test_inputs_are_those_of_pillow_within_two_levels(interpolation: str, resize: str) -> None:
    preprocessing = Preprocessing((48, 48), resize, interpolation=interpolation, mean=(0.5,) * 3, std=(1 / 255,) * 3)
    light = AugmentationConfig(crop_scale=(0.05, 1.0))
    transforms: tuple[ImageTransform, ...] = (EvalTransform(preprocessing), TrainTransform(preprocessing, light))
    for transform in transforms:
        differences = []
        for seed, size in enumerate([(75, 100), (200, 150), (40, 30), (90, 90), (99, 40), (40, 99)]):
            data = jpeg(picture(*size, seed=seed))
            levels, pillow = (transform(read(data), (0, 1, seed)) for read in (read_pixels, read_image))
            differences.append((levels - pillow).abs().flatten())
        difference = torch.cat(differences)
        assert difference.mean() < 0.05
        assert difference.max() < 2.01


def test_colours_are_drawn_and_rounded_by_pillow() -> None:
    strong = AugmentationConfig(crop_scale=None, randaugment="rand-m9-mstd0.5-inc1", color_jitter=0.4, erasing=1.0)
    data = jpeg(picture(48, 48))
    square = Preprocessing((48, 48), crop_pct=1.0)
    transform = TrainTransform(square, strong)  # nothing to resize, so that the bits are equal
    for seed in range(5):
        torch.testing.assert_close(
            transform(read_pixels(data), (seed,)), transform(read_image(data), (seed,)), rtol=0, atol=0
        )
    levels = PixelTransform(square)(read_pixels(data), ())
    torch.testing.assert_close(levels, PixelTransform(square)(read_image(data), ()), rtol=0, atol=0)


def test_a_folder_is_read_by_tensors_where_resizing_agrees(tmp_path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.jpg").write_bytes(jpeg(picture(seed=i)))
    source = open_data(str(tmp_path)).train
    kinds: list[type] = []

    class Kind(EvalTransform):
        def __call__(self, image, key):
            kinds.append(type(image))
            return super().__call__(image, key)

    for interpolation in ("bicubic", "lanczos"):
        dataset = ImageDataset(source, Kind(Preprocessing((48, 48), interpolation=interpolation)))
        assert dataset[0, ()][0].shape == (3, 48, 48)
    assert kinds == [Tensor, Image.Image]
