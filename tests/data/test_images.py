"""Every way in which an image can come, good or hostile."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data.image_formats import SUFFIXES, image_size, is_image_name, open_image_file
from saccade.data.images import MAX_PIXELS, image_names, read_image, read_scaled, rgb_pixels
from saccade.errors import ImageError


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


GRADIENT = np.linspace(0, 255, 48, dtype=np.uint8).reshape(6, 8)


def photo() -> Image.Image:
    return Image.fromarray(np.stack([GRADIENT, GRADIENT[::-1], np.full_like(GRADIENT, 128)], -1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int) -> None:
    upright = np.asarray(photo())
    stored = {  # how an upright picture lies in the file for each orientation
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1], 8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    once = read_image(data)
    np.testing.assert_array_equal(np.asarray(once), upright)
    np.testing.assert_array_equal(np.asarray(read_image(once)), upright)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 1000, 32896, 65535]], dtype=np.uint16)
    read = read_image(encoded(Image.fromarray(values)), channels=1)
    np.testing.assert_array_equal(np.asarray(read), [[0, 1, 4, 128, 255]])
    np.testing.assert_array_equal(np.asarray(read_image(values, channels=1)), [[0, 1, 4, 128, 255]])


def test_grey_becomes_three_equal_channels() -> None:
    read = np.asarray(read_image(encoded(Image.fromarray(GRADIENT))))
    np.testing.assert_array_equal(read, np.repeat(GRADIENT[..., None], 3, -1))


def test_colour_becomes_grey_by_luminance() -> None:
    read = np.asarray(read_image(Image.new("RGB", (2, 2), (255, 0, 0)), channels=1))
    assert read.tolist() == [[76, 76], [76, 76]]  # 0.299 * 255


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    clear = Image.new(mode, (2, 2), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    half = Image.new(mode, (2, 2), (0, 0, 0, 128) if mode == "RGBA" else (0, 128))
    assert np.asarray(read_image(encoded(clear))).min() == 255
    assert abs(int(np.asarray(read_image(encoded(half)))[0, 0, 0]) - 127) <= 1


def test_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    read = np.asarray(read_image(encoded(image, transparency=0)))
    assert read[0, 0].tolist() == [255, 255, 255]
    assert read[0, 1].tolist() == [200, 0, 0]


def test_cmyk_jpeg() -> None:
    read = np.asarray(read_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95)))
    red, green, blue = read[4, 4].tolist()
    assert red > 240
    assert green < 15
    assert blue < 15


def test_one_bit() -> None:
    assert np.asarray(read_image(encoded(Image.new("1", (3, 3), 1)), channels=1)).tolist() == [[255] * 3] * 3


def test_decimal_numbers_only_in_the_unit_interval() -> None:
    good = np.asarray(read_image(encoded(Image.fromarray(np.full((2, 2), 0.5, np.float32)), "TIFF"), channels=1))
    assert good.tolist() == [[128, 128]] * 2
    with pytest.raises(ImageError, match="outside"):
        read_image(encoded(Image.fromarray(np.full((2, 2), 7.0, np.float32)), "TIFF"), channels=1)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(data))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    assert read_image(encoded(Image.new("RGB", size))).size == size


def test_a_bomb_is_refused_on_its_header() -> None:
    side = int((MAX_PIXELS * 1.1) ** 0.5)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(ImageError, match="megapixels"):
        read_image(data, name="bomb.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_truncated_at_every_tenth(kind: str) -> None:
    data = encoded(photo().resize((64, 48)), kind)
    for tenth in range(10):
        cut = data[: len(data) * tenth // 10]
        try:
            read_image(cut, name="cut.img")
        except ImageError as error:
            assert "cut.img" in str(error)  # noqa: PT017 (either a picture or this error, nothing else)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF"])
def test_random_damage_gives_a_picture_or_one_error(kind: str) -> None:
    data = bytearray(encoded(photo().resize((64, 48)), kind))
    generator = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for place in generator.integers(0, len(data), 6):
            damaged[place] = generator.integers(256)
        try:
            assert read_image(bytes(damaged)).mode == "RGB"
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("content", [b"", b"hello", b"%PDF-1.4", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image(content: bytes) -> None:
    with pytest.raises(ImageError, match=r"a\.jpg"):
        read_image(content, name="a.jpg")


def test_missing_files_and_folders(tmp_path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "nothing.jpg")
    with pytest.raises(ImageError, match="folder"):
        read_image(tmp_path)


def test_arrays_and_tensors() -> None:
    grey = np.asarray(read_image(GRADIENT, channels=3))
    assert grey.shape == (6, 8, 3)
    assert grey.max() == 255
    assert tuple(read_image(torch.rand(5, 4, 4), channels=5).shape) == (5, 4, 4)
    white = read_image(torch.full((1, 2, 2), 255, dtype=torch.uint8), channels=1)
    assert np.asarray(white).tolist() == [[255, 255], [255, 255]]
    for values in ([0.5, 200.0], [-0.1, 0.5], [0.5, 1.5], [0.5, float("nan")]):
        with pytest.raises(ImageError, match=r"\[0, 1\]"):
            read_image(torch.tensor([values]))
    with pytest.raises(ImageError, match=r"the image is empty: \[3, 0, 5\]"):
        read_image(torch.zeros(3, 0, 5))
    with pytest.raises(ImageError, match="channels"):
        read_image(torch.rand(5, 4, 4), channels=3)
    with pytest.raises(ImageError, match="float"):
        read_image(np.zeros((2, 2), np.int64), channels=1)


def test_floats_between_two_levels_stay_floats() -> None:
    grey = torch.tensor([[0.0, 0.4], [0.66, 1.0]])  # 0, 102, 168.3 and 255 levels
    assert torch.equal(torch.as_tensor(read_image(grey, channels=1)), grey[None])
    assert torch.equal(torch.as_tensor(read_image(grey)), grey.expand(3, 2, 2))
    assert isinstance(read_image(grey.clamp(max=0.4)), Image.Image)
    colours = torch.tensor([0.11, 0.52, 0.93])[:, None, None].expand(3, 2, 2)
    assert torch.equal(torch.as_tensor(read_image(colours)), colours)
    np.testing.assert_array_equal(rgb_pixels(colours)[1, 1], [28, 133, 237])
    luminance = read_image(colours, channels=1)
    expected = torch.full((1, 2, 2), 0.299 * 0.11 + 0.587 * 0.52 + 0.114 * 0.93)
    torch.testing.assert_close(luminance, expected)
    for values, channels in ((torch.full((5, 2, 2), 0.3301), 1), (colours, 5), (grey, 5)):
        with pytest.raises(ImageError, match=f"the model expects {channels}"):
            read_image(values, channels=channels)


def test_pictures_with_opacity_for_models_of_two_and_four_channels() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for channels in (4, 2):
        image = Image.fromarray(np.ascontiguousarray(pixels[..., :channels]))
        read = read_image(image, channels=channels, max_pixels=6)
        np.testing.assert_allclose(np.asarray(read), np.moveaxis(pixels[..., :channels], -1, 0) / 255, atol=1e-6)
        with pytest.raises(ImageError, match="max_pixels"):
            read_image(image, channels=channels, max_pixels=5)
    for mode, channels in (("CMYK", 4), ("RGB", 4), ("RGBA", 5)):
        with pytest.raises(ImageError, match=f"the model expects {channels}"):
            read_image(Image.new(mode, (3, 2)), channels=channels)


def test_errors_name_the_image(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"hello")
    picture = Image.new("RGB", (3, 2))
    from_file = Image.open(io.BytesIO(encoded(picture)))
    from_file.filename = "b.png"  # type: ignore[attr-defined]
    for source, name in (
        (np.zeros((2, 2), np.int64), "the image"),
        (picture, "the image"),
        (from_file, "b.png"),
        (b"hello", "the image"),
        (io.BytesIO(b"hello"), "the image"),
        (path, str(path)),
    ):
        for argument, expected in ((None, name), ("mine", "mine")):
            with pytest.raises(ImageError) as error:
                read_image(source, name=argument, max_pixels=5)
            assert expected in str(error.value)
    with pytest.raises(ImageError, match=r"^mine"):
        read_image(tmp_path / "nothing.png", name="mine")
    with path.open("rb") as file, pytest.raises(ImageError, match=r"a\.png"):
        read_image(file)
    with path.open("rb") as file, pytest.raises(ImageError, match=r"^mine"):
        read_image(file, name="mine")


HEIC_HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(60)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\xef\xbb\xbf<html>", "HTML"),
        (b"hello\n", "text"),
        ("caf\u00e9".encode() * 200, "text"),
        (HEIC_HEADER, "HEIC"),
        (b"\0\0\0\x18ftypisom" + bytes(60), "video"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"PK\x03\x04" + bytes(40), "zip"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (bytes(100), "zeros"),
        (b"\x81\x82\x83\x01" * 40, "no known format"),
    ],
)
def test_the_error_names_what_a_file_is(content: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    for source in (path, content, io.BytesIO(content)):
        with pytest.raises(ImageError, match="is not an image that can be read") as error:
            read_image(source, name="photo.jpg")
        assert kind in str(error.value)
        assert "damaged" not in str(error.value)


def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="pipe"):
        read_image(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="pipe"):
        image_size(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("ending", ["jpg", "jfif", "png", "webp", "avif", "bmp", "tif", "gif", "ppm"])
def test_every_format_that_is_named_is_read(ending: str, tmp_path: Path) -> None:
    kind = {"jpg": "JPEG", "jfif": "JPEG", "tif": "TIFF"}.get(ending, ending.upper())
    path = tmp_path / f"A.{ending.upper()}"
    path.write_bytes(encoded(Image.new("RGB", (16, 8), (255, 0, 0)), kind))
    assert is_image_name(path.name)
    assert image_size(path) == (16, 8)
    red, green, _ = np.asarray(read_image(path))[4, 8].tolist()
    assert red > 200
    assert green < 60


def test_heic_is_read_with_its_extra_and_named_without(tmp_path: Path, monkeypatch) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "IMG_0001.HEIC"
    pillow_heif.from_pillow(Image.new("RGB", (64, 32), (255, 0, 0))).save(path)
    assert is_image_name(path.name)
    assert image_size(path) == (64, 32)
    assert read_image(path).getpixel((32, 16))[0] > 200  # type: ignore[index]
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"saccade\[heic\]"):
        read_image(path)


def test_arrays_on_disk(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.npy")), pixels)
    bands = np.random.default_rng(0).random((6, 8, 5)).astype(np.float32)
    np.save(tmp_path / "b.npy", bands)
    read = read_image(tmp_path / "b.npy", channels=5)
    np.testing.assert_array_equal(np.asarray(read).transpose(1, 2, 0), bands)
    with pytest.raises(ImageError, match="5 channels"):
        read_image(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="objects"):
        read_image(tmp_path / "c.npy")
    with pytest.raises(ImageError, match="maximum"):
        read_image(tmp_path / "a.npy", max_pixels=35)  # four values of a pixel
    assert np.asarray(read_image(tmp_path / "a.npy", max_pixels=36)).shape == (6, 8, 3)
    np.save(tmp_path / "d.npy", np.full((6, 8), 0.66))
    for channels in (1, 3):  # floats are rounded to levels, as in a TIFF
        assert np.unique(np.asarray(read_image(tmp_path / "d.npy", channels=channels))).tolist() == [168]


@pytest.mark.parametrize("channels", [2, 5])
def test_largest_arrays_of_bands(channels: int, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    bands = np.zeros((6, 8, channels), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", bands, planarconfig="contig", photometric="minisblack")
    np.save(tmp_path / "a.npy", bands)
    limit = 6 * 8 * channels // max(channels, 4)
    for name in ("a.tif", "a.npy"):
        assert np.asarray(read_image(tmp_path / name, channels=channels, max_pixels=limit)).shape == (channels, 6, 8)
        with pytest.raises(ImageError, match="maximum"):
            read_image(tmp_path / name, channels=channels, max_pixels=limit - 1)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 255), (np.uint16, 65535)])
def test_bands_of_a_tiff(planar: str, dtype: type, scale: int, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    bands = np.random.default_rng(0).integers(0, scale, (5, 8, 5)).astype(dtype)  # as many rows as bands
    stored = bands if planar == "contig" else np.ascontiguousarray(bands.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", stored, planarconfig=planar, photometric="minisblack")
    read = np.asarray(read_image(tmp_path / "a.tif", channels=5)).transpose(1, 2, 0)
    np.testing.assert_allclose(read, bands / scale, atol=1e-6)


def test_a_photo_above_the_limit_is_decoded_at_half_its_sides_and_others_are_refused() -> None:
    large = photo().resize((400, 300))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(large, "JPEG", exif=exif)
    with pytest.raises(ImageError, match="max_pixels"):
        read_image(data, max_pixels=100_000)
    small, size = read_scaled(data, max_pixels=100_000)
    assert small.size == (150, 200)  # type: ignore[union-attr]
    assert size == (400, 300)
    with pytest.raises(ImageError, match="max_pixels"):
        read_scaled(data, max_pixels=20_000)
    with pytest.raises(ImageError, match="max_pixels"):
        read_scaled(encoded(large), max_pixels=100_000)
    assert read_image(data, max_pixels=120_000).size == (300, 400)


def test_the_suffixes_are_lower_case() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


def test_an_array_beside_an_image_of_its_name_is_no_image() -> None:
    names = ["a/1.jpg", "a/1.npy", "a/2.npy", "b/1.NPY", "b/2.txt", "1.npy"]
    assert image_names(names) == ["a/1.jpg", "a/2.npy", "b/1.NPY", "1.npy"]


def test_a_read_reserves_no_more_than_the_file_has(tmp_path: Path) -> None:
    """A damaged chunk may state any length."""
    file = tmp_path / "a.png"
    file.write_bytes(b"0123456789")
    with open_image_file(file) as opened:
        assert opened.read(4) == b"0123"
        assert opened.read(2**62) == b"456789"  # Python would reserve that much
        assert opened.read(1) == b""
        opened.seek(8)
        assert opened.read() == b"89"


def test_the_size_of_a_large_png_is_that_of_its_header(tmp_path: Path) -> None:
    side = struct.pack(">I", 65_535)
    body = b"IHDR" + side + side + b"\x08\x00\x00\x00\x00"
    data = zlib.compress(bytes(100))
    chunks = [body, b"IDAT" + data, b"IEND"]
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    assert image_size(tmp_path / "a.png") == (65_535, 65_535)
