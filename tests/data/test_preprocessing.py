"""Preprocessing against the projects whose checkpoints need it, and its own rules."""

import numpy as np
import pytest
import torch
from PIL import Image

from saccade.data import pixels as px
from saccade.data import preprocessing as preprocessing_module
from saccade.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, MAX_SIDE, Preprocessing, Resize, resize_image
from saccade.errors import ConfigError, ImageError


def picture(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(0)
    low = generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC)


SIZES = [(500, 375), (333, 517), (224, 224), (100, 80), (1023, 301)]


@pytest.mark.parametrize("size", SIZES)
def test_equals_timm(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("timm.data.transforms_factory")
    theirs = transforms.transforms_imagenet_eval(224, crop_pct=0.9, interpolation="bicubic")
    ours = Preprocessing((224, 224), "shortest", 0.9, "bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    torch.testing.assert_close(ours(picture(*size)), theirs(picture(*size)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_equals_torchvision(size: tuple[int, int]) -> None:
    from torchvision.models import ViT_B_16_Weights

    theirs = ViT_B_16_Weights.IMAGENET1K_V1.transforms()
    ours = Preprocessing((224, 224), "shortest", 0.875, "bilinear")
    torch.testing.assert_close(ours(picture(*size)), theirs(picture(*size)), atol=1e-6, rtol=0)


def test_shortest_has_torchvisions_integers_at_every_size() -> None:
    import torchvision.transforms.functional as theirs

    sizes = [(height, width) for height in range(1, 700, 3) for width in range(1, 700)]
    sizes += [(107, 214), (214, 107), (1023, 301), (3000, 4501)]  # 107 x 214: a factor in floating point gives 447
    for edge in (224, 256, 321):
        ours = Preprocessing((edge, edge), "shortest", 1.0)
        expected = [tuple(theirs._compute_resized_output_size(size, [edge])) for size in sizes]
        assert [ours.size_covering(*size) for size in sizes] == expected
    image = picture(214, 107)
    assert theirs.resize(image, [224]).size == (448, 224)
    expected = theirs.to_tensor(theirs.center_crop(theirs.resize(image, [224]), [224]))
    ours = Preprocessing((224, 224), "shortest", 1.0, "bilinear", mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.testing.assert_close(ours(image), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_equals_hugging_face(size: tuple[int, int]) -> None:
    transformers = pytest.importorskip("transformers")
    processor = transformers.ViTImageProcessor(size={"height": 224, "width": 224})
    theirs = processor(picture(*size), return_tensors="pt")["pixel_values"][0]
    ours = Preprocessing((224, 224), "exact", 1.0, "bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)(picture(*size))
    # Their tensor resize and PIL's differ in the last of 256 levels, here and there.
    assert (ours - theirs).abs().max() <= 2.1 / 127.5
    assert (ours - theirs).abs().mean() < 0.5 / 127.5


@pytest.mark.parametrize("resize", ["shortest", "exact", "pad"])
@pytest.mark.parametrize("size", SIZES)
def test_any_image_comes_out_at_the_size(resize: str, size: tuple[int, int]) -> None:
    assert tuple(Preprocessing((96, 64), resize)(picture(*size)).shape) == (3, 96, 64)


def test_padding_is_zero_after_normalisation() -> None:
    out = Preprocessing((64, 64), "pad")(Image.new("RGB", (64, 16), "white"))
    assert out[:, :20].abs().max() < 0.01
    assert out[:, 30].min() > 1


@pytest.mark.parametrize(
    ("size", "image", "part"),
    [  # the rows and columns of the input that the image covers
        ((8, 4), (2, 4), (slice(3, 5), slice(0, 4))),
        ((8, 4), (8, 1), (slice(0, 8), slice(1, 2))),
        ((4, 6), (20, 1), (slice(0, 4), slice(2, 3))),  # one pixel is left of a thin image
        ((6, 4), (1, 20), (slice(2, 3), slice(0, 4))),
    ],
)
def test_padding_is_split_between_both_ends(size: tuple[int, int], image: tuple[int, int], part: tuple) -> None:
    expected = torch.zeros(1, *size)
    expected[:, part[0], part[1]] = 1
    white = torch.ones(1, *image)
    plain = Preprocessing(size, "pad", interpolation="bilinear", channels=1, mean=(0.0,), std=(1.0,))
    torch.testing.assert_close(plain(white), expected)


@pytest.mark.parametrize(
    ("resize", "size", "multiple", "image", "expected"),
    [
        ("inside", (100, 200), 1, (50, 400), (25, 200)),
        ("inside", (100, 200), 1, (400, 100), (100, 25)),
        ("inside", (100, 101), 1, (30, 71), (42, 101)),  # 42.7 rows
        ("inside", (101, 100), 1, (71, 30), (101, 42)),
        ("inside", (100, 100), 1, (1, 1000), (1, 100)),
        ("inside", (100, 100), 1, (1000, 1), (100, 1)),
        ("cover", (56, 84), 14, (40, 100), (56, 140)),
        ("cover", (56, 84), 14, (112, 126), (70, 84)),  # 74.7 rows
        ("cover", (4, 30), 14, (4, 30), (14, 28)),  # a side has at least one multiple
        ("closest", (120, 90), 10, (100, 100), (90, 90)),  # 1.2 and 0.9: the width needs less
        ("closest", (105, 50), 5, (100, 100), (105, 105)),  # 1.05 and 0.5
        ("closest", (50, 150), 10, (100, 100), (50, 50)),  # the same for both: the height counts
        ("range", (800, 1333), 1, (400, 500), (800, 1000)),
        ("range", (800, 1333), 1, (500, 1000), (666, 1332)),  # 666.5, rounded before the other side follows
        ("edges", (800, 1333), 1, (500, 1000), (666, 1333)),
        ("edges", (800, 1333), 1, (1000, 500), (1333, 666)),
        ("range", (800, 1333), 1, (1, 1500), (1, 1500)),  # as in DETR: the longer side follows from the rounded one
        ("range", (800, 1333), 1, (5000, 1), (1333, 1)),
    ],
)
def test_size_of_a_whole_image(
    resize: Resize, size: tuple[int, int], multiple: int, image: tuple[int, int], expected: tuple[int, int]
) -> None:
    preprocessing = Preprocessing(size, resize, multiple=multiple)
    assert preprocessing.whole_size(*image) == expected
    assert preprocessing.box_of(image) == (0, 0, image[1], image[0])


def test_description() -> None:
    size = (480, 640)
    lines = {
        "shortest": "resized to cover 480 x 640, centre crop of 87.5%",
        "exact": "stretched to 480 x 640, centre crop of 87.5%",
        "pad": "padded to 480 x 640",
        "inside": "scaled to fit inside 480 x 640",
        "closest": "one side of 480 x 640, multiples of 14",
        "cover": "scaled to cover 480 x 640, multiples of 14",
        "edges": "shorter side 480, longer side at most 640",
        "range": "shorter side 480, longer side at most 640",
    }
    for resize, line in lines.items():
        description = Preprocessing(size, resize, channels=1, mean=(0.5,), std=(0.25,), multiple=14).describe()
        assert description == f"1 channels, {line}, bicubic, mean (0.5,), std (0.25,)"


def test_value_range_and_back() -> None:
    half = Preprocessing((8, 8), "exact", 1.0, value_range=(-1.0, 1.0), mean=(0.0,) * 3, std=(1.0,) * 3)
    black = half(Image.new("RGB", (8, 8), "black"))
    assert black.min() == black.max() == -1
    image = torch.rand(3, 8, 8)
    torch.testing.assert_close(half.denormalize(half.normalize(image)), image)
    torch.testing.assert_close(half.standardise(image), half.normalize(image))
    assert half.denormalize(torch.tensor([-3.0, 3.0]).expand(3, 1, 2)).unique().tolist() == [0, 1]
    for value_range, white in (((0.0, 2.0), 2), ((0.0, 1.0), 1), ((1.0, 0.0), 0)):
        plain = Preprocessing((1, 1), "exact", 1.0, "bicubic", 1, value_range, (0.0,), (1.0,))
        assert plain(torch.ones(1, 1, 1)).item() == white


def test_modes_of_models() -> None:
    assert Preprocessing(channels=1, mean=(0.5,), std=(0.5,)).convert_mode(Image.new("RGB", (2, 2))).mode == "L"
    assert Preprocessing().convert_mode(Image.new("L", (2, 2))).mode == "RGB"


def test_round_trip_and_bad_values() -> None:
    import json

    preprocessing = Preprocessing((32, 48), "pad", interpolation="bilinear")
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
    with pytest.raises(ConfigError, match=r"did you mean preprocessing\.crop_pct"):
        Preprocessing.from_dict({"crop_pc": 0.9})
    for invalid in (
        {"size": (0, 3)}, {"size": (MAX_SIDE + 1, 3)}, {"resize": "x"}, {"crop_pct": 0}, {"crop_pct": 1.5},
        {"mean": (0.5,)}, {"mean": (float("nan"), 0.5, 0.5)}, {"std": (0.0, 1.0, 1.0)}, {"multiple": 0},
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            Preprocessing(**invalid)
    assert Preprocessing((1, MAX_SIDE)).size == (1, MAX_SIDE)


def test_what_the_model_sees_of_the_image() -> None:
    assert Preprocessing((100, 100), "shortest", 0.5).box_of((200, 400)) == (150.0, 50.0, 250.0, 150.0)
    assert Preprocessing((100, 100), "exact", 1.0).box_of((200, 400)) == (0, 0, 400, 200)
    assert Preprocessing((100, 100), "exact", 0.8).box_of((200, 400)) == pytest.approx((40, 20, 360, 180))
    assert Preprocessing((100, 100), "pad").box_of((200, 400)) == (0.0, -100.0, 400.0, 300.0)
    assert Preprocessing((100, 300), "pad").box_of((200, 400)) == (-100.0, 0.0, 500.0, 200.0)
    assert Preprocessing((100, 200), "shortest", 1.0).box_of((200, 800)) == (200.0, 0.0, 600.0, 200.0)


def test_thin_images_are_refused_or_bounded() -> None:
    thin = Image.new("RGB", (30000, 1))
    with pytest.raises(ImageError, match="too thin"):
        Preprocessing()(thin)
    assert Preprocessing((64, 64), "pad", 1.0)(thin).shape == (3, 64, 64)
    assert Preprocessing((800, 1333), "range", 1.0)(Image.new("RGB", (5000, 1))).shape == (3, 1, 1333)
    plain = Preprocessing((64, 64), "shortest", 1.0)
    for limit in ((2, 20000), (20000, 2)):
        assert plain(torch.zeros(3, *limit, dtype=torch.uint8)).shape == (3, 64, 64)
        with pytest.raises(ImageError, match="one side is more than 10,000 times"):
            plain(torch.zeros(3, *(length + length // 20000 for length in limit), dtype=torch.uint8))


def test_largest_number_of_resized_pixels(monkeypatch) -> None:
    """16 times the pixels of the model's input, or those of the image itself."""
    monkeypatch.setattr(preprocessing_module, "MAX_RESIZED", 64)
    wide = Preprocessing((2, 8), "cover", interpolation="bilinear", channels=1, mean=(0.5,), std=(0.5,))
    assert wide(torch.zeros(1, 1, 64)).shape == (1, 2, 128)
    assert wide(torch.zeros(1, 3, 600)).shape == (1, 2, 400)
    with pytest.raises(ImageError, match="too thin: it would be scaled to 130 x 2"):
        wide(torch.zeros(1, 1, 65))


@pytest.mark.parametrize(
    ("size", "resize", "crop_pct", "image"),
    [
        ((4, 40), "shortest", 1.0, (2, 400)),  # twice as large
        ((4, 40), "exact", 0.1, (1, 800)),  # half as wide
    ],
)
def test_the_middle_of_a_thin_image_has_the_pixels_of_the_whole(
    monkeypatch, size: tuple[int, int], resize: Resize, crop_pct: float, image: tuple[int, int]
) -> None:
    pixels = torch.rand(1, *image, generator=torch.Generator().manual_seed(0))
    for is_transposed in (False, True):
        pixels, size = (pixels.mT, size[::-1]) if is_transposed else (pixels, size)
        plain = Preprocessing(size, resize, crop_pct, channels=1, mean=(0.5,), std=(0.5,))
        whole = plain(pixels)
        with monkeypatch.context() as limits:
            limits.setattr(preprocessing_module, "MAX_RESIZED", 64)
            torch.testing.assert_close(plain(pixels), whole, atol=1e-5, rtol=0)
    too_short = Preprocessing((16, 2), "shortest", 1.0)  # for a cut
    monkeypatch.setattr(preprocessing_module, "MAX_RESIZED", 64)
    with pytest.raises(ImageError, match="would be scaled to 48 x 16"):
        too_short(torch.zeros(3, 1, 3))


@pytest.mark.parametrize(
    ("image", "size", "is_vertical_first"),
    [  # vertical first if the reduction of rows is more than twice that of columns
        ((12, 8), (6, 5), False),
        ((12, 8), (5, 5), True),
        ((12, 8), (5, 4), False),
        ((7, 4), (6, 8), True),
        ((6, 4), (6, 8), False),
    ],
)
def test_order_of_the_passes_over_levels(
    image: tuple[int, int], size: tuple[int, int], is_vertical_first: bool
) -> None:
    levels = torch.randint(0, 256, (64, *image), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows, columns = (size[0], image[1]), (image[0], size[1])
    one_way, other_way = (px.resize(px.resize(levels, first, "bicubic"), size, "bicubic") for first in (rows, columns))
    expected = one_way if is_vertical_first else other_way
    assert torch.equal(resize_image(levels, size, "bicubic"), expected)
    if image[0] != size[0]:
        assert not torch.equal(one_way, other_way)
    values = levels / 255
    assert torch.equal(resize_image(values, size, "bicubic"), px.resize(values, size, "bicubic"))
