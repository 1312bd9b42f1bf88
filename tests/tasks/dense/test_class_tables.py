"""Files that name the classes of masks, and masks of colours: right, or an error that names file, colour and place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.data.config import DataConfig
from saccade.errors import DataError, ImageError
from saccade.tasks.dense.class_tables import IGNORE, class_table_file, read_class_table
from saccade.tasks.dense.sources import open_dense
from tests.opens.data import picture, written

WHOLE = DataConfig(val_fraction=0.0, test_fraction=0.0)
SIZE = (12, 8)
SKY, ROAD, VOID = (128, 128, 128), (128, 64, 128), (0, 0, 0)


def colour_mask() -> np.ndarray:
    mask = np.zeros((8, 12, 3), np.uint8)
    mask[:4], mask[4:], mask[0, 0] = SKY, ROAD, VOID
    return mask


def write(root: Path, *masks: np.ndarray | Image.Image, table: str = "") -> Path:
    for number, mask in enumerate(masks):
        picture(root / "images" / f"{number}.png", SIZE)
        (root / "masks").mkdir(exist_ok=True)
        image = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        image.save(root / "masks" / f"{number}.png")
    if table:
        written(root / "class_dict.csv", table)
    return root


TABLE = "name,r,g,b\nsky,128,128,128\nroad,128,64,128\nVoid,0,0,0\n"


@pytest.mark.parametrize(
    ("file", "text", "names", "colours"),
    [
        ("classes.json", '["sky", "road"]', {0: "sky", 1: "road"}, {}),
        ("classes.json", '{"4": "sky", "1": "road"}', {1: "road", 4: "sky"}, {}),
        ("class_dict.csv", TABLE, {0: "sky", 1: "road", 2: "Void"}, {SKY: 0, ROAD: 1, VOID: 2}),
        ("class_dict.csv", "name;R;G;B\nsky;128;128;128\n", {0: "sky"}, {SKY: 0}),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n3, road\n", {0: "sky", 3: "road"}, {}),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:128,64,128:a,b:c\n", {0: "road"}, {ROAD: 0}),
        ("label_colors.txt", "128 128 128\t\tsky\n128 64 128 Road way\n", {0: "sky", 1: "Road way"}, {SKY: 0, ROAD: 1}),
        ("class_names.txt", "__ignore__\n_background_\ntv/monitor\n", {0: "_background_", 1: "tv/monitor"}, {}),
        ("objectInfo150.txt", "Idx\tRatio\tName\n1\t0.1\twall\n", {0: "unlabelled", 1: "wall"}, {}),
    ],
)
def test_tables(file: str, text: str, names: dict, colours: dict, tmp_path: Path) -> None:
    path = written(tmp_path / file, text)
    assert class_table_file(tmp_path) == path
    table = read_class_table(path)
    assert (table.names, table.colours) == (names, colours)


def test_two_numbers_of_one_class_and_numbers_of_no_class(tmp_path: Path) -> None:
    table = read_class_table(written(tmp_path / "classes.json", '{"1": "tree", "2": "void", "5": "sky", "7": "tree"}'))
    assert table.classes == ("tree", "sky")
    assert table.indices()[[0, 1, 2, 5, 7, 255]].tolist() == [-2, 0, IGNORE, 1, 0, IGNORE]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("classes.json", '{"a": "sky"}', "must be a JSON list"), ("classes.json", "[1, 2]", "must be a JSON list"),
        ("classes.json", '["void"]', "names no class"), ("classes.json", '{"-1": "sky"}', "number -1"),
        ("class_dict.csv", "r,g,b\n1,2,3\n", "column of names"),
        ("class_dict.csv", "name,r,g,b\nsky,1,2,x\n", "line 2: 'x' is not a whole number"),
        ("class_dict.csv", "name,r,g,b\nsky,1,2,300\n", "line 2: a colour has"),
        ("class_dict.csv", "name,r,g,b\nsky,1,2,3\nroad,1,2,3\n", "sky and road have the same colour"),
        ("labelmap.txt", "sky:::\n", "line 1: 'sky:::' is not name:r,g,b"),
        ("label_colors.txt", "1 2 3 sky\nroad\n", "some classes have a colour"),
    ],
)  # fmt: skip
def test_errors_name_the_file(file: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{file}.*{message}"):
        read_class_table(written(tmp_path / file, text))


def as_palette(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask).quantize(8)


@pytest.mark.parametrize("form", [Image.fromarray, as_palette, lambda m: Image.fromarray(m).convert("RGBA")])
def test_colours(form, tmp_path: Path) -> None:
    splits = open_dense(str(write(tmp_path, form(colour_mask()), table=TABLE)), "masks", WHOLE)
    assert splits.classes == ("sky", "road")
    assert "2 classes by class_dict.csv" in splits.notes
    _, mask = splits.train.with_map(0)
    assert mask[0, 0] == IGNORE
    assert (mask[:4].ravel()[1:] == 0).all()
    assert (mask[4:] == 1).all()


def test_greys_are_colours_where_the_table_has_colours(tmp_path: Path) -> None:
    mask = np.where(np.arange(12) < 5, 255, 0).astype(np.uint8) * np.ones((8, 1), np.uint8)
    splits = open_dense(str(write(tmp_path, mask, table="name,r,g,b\nroad,255,255,255\nrest,0,0,0\n")), "masks", WHOLE)
    assert splits.classes == ("road", "rest")
    assert (splits.train.with_map(0)[1] == (np.arange(12) >= 5)).all()


def test_a_colour_without_a_class_is_named_with_its_place(tmp_path: Path) -> None:
    mask = colour_mask()
    mask[5, 7], mask[6, 1] = (127, 64, 128), (1, 2, 3)
    source = open_dense(str(write(tmp_path, mask, table=TABLE)), "masks", WHOLE).train
    message = r"0\.png has the colour \(127, 64, 128\) at x 7, y 5, which is not in class_dict\.csv, and 1 other"
    with pytest.raises(ImageError, match=message):
        source.with_map(0)


def test_colours_without_a_table_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "data", colour_mask())
    with pytest.raises(
        DataError, match=r"mask of colours, such as \(128, 64, 128\).*class_dict\.csv.*data\.class_table"
    ):
        open_dense(str(root), "masks", WHOLE)
    table = written(tmp_path / "colours.csv", TABLE)
    config = DataConfig(val_fraction=0.0, test_fraction=0.0, class_table=str(table))
    assert open_dense(str(root), "masks", config).classes == ("sky", "road")
    written(root / "classes.json", ["sky", "road"])
    with pytest.raises(ImageError, match="mask of colours"):
        open_dense(str(root), "masks", WHOLE).train.with_map(0)


def palette_mask(*colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(np.eye(8, 12, dtype=np.uint8))
    image.putpalette([value for colour in colours for value in colour])
    return image


def test_indices_are_classes_where_all_palettes_agree(tmp_path: Path) -> None:
    """Tools that reduce colours to a palette number them differently in each file."""
    root = write(tmp_path, palette_mask(VOID, ROAD), palette_mask(VOID, ROAD, SKY), palette_mask(VOID, SKY))
    written(root / "classes.json", ["sky", "road"])
    source = open_dense(str(root), "masks", WHOLE).train
    for index in (0, 1):
        assert (source.with_map(index)[1] == np.eye(8, 12)).all()
    with pytest.raises(ImageError, match=r"2\.png: index 1 is the colour \(128, 128, 128\).*\(128, 64, 128\)"):
        source.with_map(2)


def test_numbers_in_three_channels_or_sixteen_bits(tmp_path: Path) -> None:
    numbers = np.eye(8, 12, dtype=np.uint8)
    root = write(tmp_path, numbers[..., None].repeat(3, 2), numbers.astype(np.uint16))
    written(root / "classes.json", ["sky", "road"])
    for index in (0, 1):
        assert (open_dense(str(root), "masks", WHOLE).train.with_map(index)[1] == numbers).all()


def test_transparent_masks_are_refused(tmp_path: Path) -> None:
    pixels = np.dstack([colour_mask(), np.full((8, 12), 100, np.uint8)])
    with pytest.raises(ImageError, match="partly transparent"):
        open_dense(str(write(tmp_path, pixels, table=TABLE)), "masks", WHOLE).train.with_map(0)
