"""Boxes of CVAT's XML: right, or an error that names the file and the shape."""

from pathlib import Path

import pytest

from saccade.errors import DataError
from saccade.tasks.detection.sources import open_boxes
from tests.tasks.detection.test_layouts import BOX, WHOLE, boxes, picture, written


def cvat(root: Path, shapes: str, name: str = "a.jpg", more: str = "") -> Path:
    picture(root / "images" / "a.jpg")
    image = f'<image id="3" name="{name}" width="80" height="60">{shapes}</image>'
    return written(root / "annotations.xml", f"<annotations><version>1.1</version>{image}{more}</annotations>")


@pytest.mark.parametrize(
    "shape",
    [
        '<box label="fox" xtl="20.0" ytl="15" xbr="60" ybr="45" occluded="0"><attribute name="a">b</attribute></box>',
        '<polygon label="fox" points="20.0,30.0;40.0,15.0;60.0,30.0;40.0,45.0"/>',
        '<ellipse label="fox" cx="40" cy="30" rx="20" ry="15"/>',
        '<ellipse label="fox" cx="40" cy="30" rx="15" ry="20" rotation="90"/>',
        '<mask label="fox" rle="3, 4" left="20" top="15" width="40" height="30"/>',
        '<box label="fox" xtl="25" ytl="10" xbr="55" ybr="50" rotation="90.0"/>',
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "images\\a.jpg", "task/a.jpg"])
def test_shapes(shape: str, name: str, tmp_path: Path) -> None:
    file = cvat(tmp_path, shape, name)
    assert boxes(tmp_path) == {"train/a.jpg": [BOX]}
    assert boxes(file) == {"train/a.jpg": [BOX]}


def test_what_has_no_box_is_noted(tmp_path: Path) -> None:
    file = cvat(tmp_path, '<box label="fox" xtl="1" ytl="1" xbr="2" ybr="2"/><polyline label="x"/><points label="x"/>')
    notes = open_boxes(str(tmp_path), WHOLE).notes
    assert notes[0] == "read in the layout of CVAT"
    assert f"skipped: 1 polyline annotations of {file}, which have no box" in notes


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<box label="fox" xtl="nan" ytl="1" xbr="2" ybr="2"/>', "box 1 has a coordinate that is not finite"),
        ('<box label="fox" xtl="wide" ytl="1" xbr="2" ybr="2"/>', "box 1 cannot be read"),
        ('<box label="fox" ytl="1" xbr="2" ybr="2"/>', "box 1 cannot be read"),
        ('<box label=" " xtl="1" ytl="1" xbr="2" ybr="2"/>', "box 1 has no label"),
        ('<polygon label="fox" points="1,2;3,4"/>', "polygon 1 cannot be read.*2 corners"),
    ],
)
def test_errors_name_the_shape(shape: str, message: str, tmp_path: Path) -> None:
    cvat(tmp_path, shape)
    with pytest.raises(DataError, match=rf"annotations\.xml: image 'a\.jpg', {message}"):
        open_boxes(str(tmp_path))


def test_videos_and_missing_images(tmp_path: Path) -> None:
    cvat(tmp_path, "", more='<track id="0" label="fox"/>')
    with pytest.raises(DataError, match="tracks of a video: export"):
        open_boxes(str(tmp_path))
    cvat(tmp_path, '<box label="fox" xtl="1" ytl="1" xbr="2" ybr="2"/>', "none.jpg")
    with pytest.raises(DataError, match=r"annotations\.xml names the image none\.jpg"):
        open_boxes(str(tmp_path))
