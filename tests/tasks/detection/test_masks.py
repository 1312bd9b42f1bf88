"""A detector with a mask head: the losses by hand, masks that move with their boxes, training on a trained detector."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.cli.main import main
from saccade.data.boxed_batches import BoxDataset, BoxTransform
from saccade.data.boxes import drawn, open_boxes
from saccade.data.builtin.scenes import SceneSource, scene_splits
from saccade.data.builtin.write_scenes import write_scenes
from saccade.data.config import AugmentationConfig, DataConfig, ScenesConfig
from saccade.data.preprocessing import Preprocessing
from saccade.errors import DataError
from saccade.tasks.mask_losses import mask_losses, mask_overlaps
from saccade.training.config import resolve
from tests.running import train
from tests.training.test_detecting import TINY

SCENES = ScenesConfig(size=(64, 64), digits=(1, 3), train=24, val=4, test=6)


def test_losses_by_hand() -> None:
    said = torch.tensor([[[20.0, -20.0], [20.0, -20.0]], [[0.0, 0.0], [0.0, 0.0]]])
    true = torch.tensor([[[True, False], [True, False]], [[True, True], [False, False]]])
    found = mask_losses(said, true)
    # A sure and right mask costs nothing; an unsure one has p = 1/2 everywhere: Dice (2*1 + 1) / (2 + 2 + 1).
    assert found["Dice"].item() == pytest.approx((0 + (1 - 3 / 5)) / 2, abs=1e-6)
    # 0.25 (ink) or 0.75 (ground) of (1/2)^2 ln 2, half a picture each.
    assert found["mask"].item() == pytest.approx(0.5 * (0.25 + 0.75) / 2 * 0.25 * np.log(2), rel=1e-5)
    assert mask_overlaps(torch.stack((said[0], said[0].T)), true).tolist() == pytest.approx([1.0, 1.0])
    empty = mask_losses(said[:0].requires_grad_(), true[:0])
    assert sum(part.item() for part in empty.values()) == 0.0


def test_masks_move_with_their_boxes() -> None:
    source = SceneSource("train", 8, SCENES)
    config = AugmentationConfig(crop_scale=(0.4, 1.0), flip=0.5)
    transform = BoxTransform(Preprocessing((64, 64), resize="exact", crop_pct=1.0), config)
    for index in range(8):
        image, boxes, labels, masks = transform(source.with_boxes(index), (0, 0, index, 0))
        assert masks is not None
        assert masks.shape == (len(labels), *image.shape[-2:])
        for box, mask in zip(boxes, masks):
            rows, columns = mask.nonzero(as_tuple=True)
            middle = torch.tensor([columns.double().mean(), rows.double().mean()]) / 64
            assert ((middle - box[:2]).abs() < box[2:] / 2 + 0.05).all()


def test_files_bring_their_masks(tmp_path: Path) -> None:
    splits = scene_splits(ScenesConfig(size=(48, 48), train=3, val=1, test=1))
    write_scenes(splits, tmp_path / "scenes")
    stored = open_boxes(str(tmp_path / "scenes")).train
    for index in range(3):
        ours, theirs = splits.train.with_boxes(index), stored.with_boxes(index)
        np.testing.assert_array_equal(ours.masks, theirs.masks)
    square = drawn([[1, 1, 5, 1, 5, 5, 1, 5]], (8, 8))
    assert square[2:5, 2:5].all()
    assert square.sum() == 16
    file = tmp_path / "scenes" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    del content["annotations"][0]["segmentation"]
    file.write_text(json.dumps(content))
    part = open_boxes(str(tmp_path / "scenes")).train
    images = BoxDataset(part, BoxTransform(Preprocessing((48, 48))), masks=True)
    with pytest.raises(DataError, match="not all of its boxes"):
        [images[(index, ())] for index in range(3)]


def test_a_mask_head_on_a_trained_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = train(resolve(overrides={**TINY, "schedule.steps": 2}), output=tmp_path / "boxes")
    changed = {"model.init": str(tmp_path / "boxes"), "model.options": {"masks": True}, "schedule.epochs": 2}
    result = train(resolve(overrides={**TINY, **changed}), output=tmp_path / "masks")
    row = result.run.metrics()[-1]
    assert {"mask", "Dice", "mask IoU", "val_mask IoU"} <= row.keys()
    assert result.metrics.mask_iou == pytest.approx(result.metrics.row()["mask IoU"])
    assert "mask IoU" in str(result.metrics)
    before, after = (saccade.load(r.run.path).model for r in (boxes, result))
    assert not before.config.masks
    assert after.config.masks
    Image.fromarray(SceneSource("test", 1, SCENES).scene(0).image).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "masks"), str(tmp_path / "a.png"), "--threshold", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told[0]["segmentation"]["size"] == [64, 64]
    assert main(["evaluate", str(tmp_path / "masks"), "scenes"]) == 0
    assert "mask IoU" in capsys.readouterr().out


def test_splits_keep_what_is_known() -> None:
    splits = open_boxes("scenes", DataConfig(scenes=SCENES))
    assert splits.train.with_boxes(0).masks is not None
