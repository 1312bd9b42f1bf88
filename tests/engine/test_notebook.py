"""Results in a notebook: pictures of files and of single images in memory, and nothing where there is no image."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import saccade
from tests.analysis.test_points import IMAGE, created


def shown(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("vit_digits", "classification"),
        ("yolo_small", "detection"),
        ("dpt_small", "depth"),
        ("dpt_small_seg", "segmentation"),
    ],
)  # fmt: skip
def test_results_are_drawn_over_their_image(name: str, task: str, tmp_path: Path) -> None:
    predictor = created(name, task)
    path = tmp_path / "a.png"
    Image.fromarray(IMAGE).save(path)
    of_file, of_array = predictor.predict(path), predictor.predict(IMAGE)
    expected = of_file.draw(IMAGE)
    np.testing.assert_array_equal(shown(of_file._repr_png_()), expected)
    np.testing.assert_array_equal(shown(of_array._repr_png_()), of_array.draw(IMAGE))
    assert of_array._pixels is not None  # read where it is displayed
    assert of_array.to_dict() == predictor.predict([IMAGE])[0].to_dict() | {"image": of_array.name}


def test_no_picture_without_an_image(tmp_path: Path) -> None:
    predictor = created("vit_digits", "classification")
    (several,) = predictor.predict([IMAGE])  # the images of a list are not kept alive
    assert several._repr_png_() is None
    assert predictor.predict([IMAGE])[0] == several
    path = tmp_path / "a.png"
    Image.fromarray(IMAGE).save(path)
    result = predictor.predict(path)
    path.write_bytes(b"no image")
    assert result._repr_png_() is None
    path.unlink()
    assert result._repr_png_() is None
    assert several.over(lambda: IMAGE)._repr_png_()[:4] == b"\x89PNG"


def test_an_explanation_is_a_picture() -> None:
    drawing = saccade.explain(created("vit_digits", "classification"), IMAGE, method="attnlrp", score=True)
    assert shown(drawing._repr_png_()).ndim == 3
    assert "random maps" in drawing.lines[1]
