"""What is checked before a run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from saccade.cli.main import main


def test_dense_data_of_a_folder_is_checked_and_its_notes_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The recipes of tasks whose default data is composed check what people bring, and nothing else."""
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for i in range(6):
        Image.new("RGB", (32, 32), (i, 0, 0)).save(tmp_path / f"data/images/{i}.png")
        mask = np.zeros((32, 32), np.uint8)
        mask[:8] = 255
        Image.fromarray(mask).save(tmp_path / f"data/masks/{i}.png")
    (tmp_path / "data/classes.json").write_text('["background", "lesion"]')
    arguments = ["--task", "segmentation", "--steps", "1", "--batch-size", "2", "--image-size", "32", "--set"]
    run = ["train", str(tmp_path / "data"), *arguments, "preflight=false", "--output", str(tmp_path / "run")]
    assert main(run) == 0
    printed = capsys.readouterr().err
    assert "255 is lesion" in printed
    assert "checked 6 of 6 images, 2 classes: background, lesion" in printed
    assert "unbalanced" not in printed
    Image.new("RGB", (16, 16)).save(tmp_path / "data/images/3.png")
    assert main([*run[:-1], str(tmp_path / "other")]) == 1
    assert "3.png" in capsys.readouterr().err
