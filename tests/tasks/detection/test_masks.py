"""A detector with a mask head: the losses by hand, masks that move with their boxes, training on a trained detector."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.cli.main import main
from saccade.data.builtin.scenes import SceneSource, scene_splits
from saccade.data.builtin.write_scenes import write_scenes
from saccade.data.config import AugmentationConfig, DataConfig, ScenesConfig
from saccade.data.preprocessing import Preprocessing
from saccade.errors import DataError
from saccade.tasks.detection.batches import BoxDataset, BoxTransform
from saccade.tasks.detection.mask_losses import mask_iou, mask_losses
from saccade.tasks.detection.masks import masks_at_size
from saccade.tasks.detection.segmentations import rasterize
from saccade.tasks.detection.sources import open_boxes
from saccade.training.config import resolve
from tests.running import train
from tests.tasks.detection.test_runs import TINY

SCENES = ScenesConfig(size=(64, 64), digits=(1, 3), train=24, val=4, test=6)


def test_losses_by_hand() -> None:
    logits = torch.tensor([[[20.0, -20.0], [20.0, -20.0]], [[0.0, 0.0], [0.0, 0.0]]])
    target = torch.tensor([[[True, False], [True, False]], [[True, True], [False, False]]])
    sums = mask_losses(logits, target)
    # A confident and right mask costs nothing; logits of 0 give p = 1/2 everywhere: Dice (2*1 + 1) / (2 + 2 + 1).
    assert sums["loss_dice"].item() == pytest.approx(0 + (1 - 3 / 5), abs=1e-6)
    # alpha 0.25 (foreground) or 0.75 (background) times (1/2)^2 ln 2, half of the pixels each.
    assert sums["loss_mask"].item() == pytest.approx((0.25 + 0.75) / 2 * 0.25 * np.log(2), rel=1e-5)
    assert mask_iou(torch.stack((logits[0], logits[0].T)), target).tolist() == pytest.approx([1.0, 1.0])
    # Bilinear, without aligned corners: of a row a, b to a, (3 a + b) / 4, (a + 3 b) / 4, b. A mask is what is above 0.
    twice = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    small = torch.tensor([[0.4, -1.2], [0.4, 0.4]])
    large = twice @ small @ twice.T
    assert (large == 0).any()
    for truth in (large > 0, large > -0.5):
        expected = ((large > 0) & truth).sum() / ((large > 0) | truth).sum()
        assert mask_iou(small[None], truth[None]).tolist() == pytest.approx([expected.item()])
    torch.testing.assert_close(masks_at_size(small[None], (2, 2), (2, 2), (4, 4))[0], large)
    assert mask_iou(small[None][:0], large[None][:0]).shape == (0,)
    probability = large.sigmoid()
    dice = (2 * (probability * truth).sum() + 1) / (probability.sum() + truth.sum() + 1)
    assert mask_losses(small[None], truth[None])["loss_dice"].item() == pytest.approx(1 - dice.item(), rel=1e-5)
    one = torch.tensor([[[1.0, -1.0]]])
    assert mask_iou(one, one > 0).tolist() == [1.0]
    assert mask_iou(-one.abs(), one > 9).tolist() == [0.0]
    assert mask_iou(0 * one, one > 0).tolist() == [0.0]
    empty = mask_losses(logits[:0].requires_grad_(), target[:0])
    assert sum(part.item() for part in empty.values()) == 0.0


def test_masks_of_a_padded_image_end_at_its_edge() -> None:
    """The left half of an image of 4 x 6 in an input of 8 x 8 is the left half of the original image."""
    masks = torch.full((1, 8, 8), -5.0)
    masks[:, :4, :3] = 5.0
    original = masks_at_size(masks, (8, 8), (4, 6), (40, 60)) > 0
    assert original[0, :, :29].all()
    assert not original[0, :, 31:].any()
    plain = masks_at_size(masks, (8, 8), (8, 8), (8, 8))
    assert torch.equal(plain, masks)


def test_masks_move_with_their_boxes() -> None:
    source = SceneSource("train", 8, SCENES)
    config = AugmentationConfig(crop_scale=(0.4, 1.0), flip=0.5)
    transform = BoxTransform(Preprocessing((64, 64), resize="exact", crop_pct=1.0), config)
    for index in range(8):
        image, boxes, labels, masks, _ = transform(source.with_boxes(index), (0, 0, index, 0))
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
    square = rasterize([[1, 1, 5, 1, 5, 5, 1, 5]], (8, 8))
    assert square[2:5, 2:5].all()
    assert square.sum() == 16
    file = tmp_path / "scenes" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    del content["annotations"][0]["segmentation"]
    file.write_text(json.dumps(content))
    part = open_boxes(str(tmp_path / "scenes")).train
    images = BoxDataset(part, BoxTransform(Preprocessing((48, 48))), masks=True)
    with pytest.raises(DataError, match="a mask for every box"):
        [images[(index, ())] for index in range(3)]


def test_a_mask_head_on_a_trained_detector(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = train(resolve(overrides={**TINY, "schedule.steps": 2}), output=tmp_path / "boxes")
    changed = {"model.init": str(tmp_path / "boxes"), "model.options": {"masks": True}, "schedule.epochs": 2}
    result = train(resolve(overrides={**TINY, **changed}), output=tmp_path / "masks")
    row = result.run.metrics()[-1]
    assert {"loss_mask", "loss_dice", "mask IoU", "val_mask IoU"} <= row.keys()
    assert result.metrics.mask_iou == pytest.approx(result.metrics.scalars()["mask IoU"])
    assert "mask IoU" in str(result.metrics)
    before, after = (saccade.load(r.run.path).model for r in (boxes, result))
    assert not before.config.masks
    assert after.config.masks
    Image.fromarray(SceneSource("test", 1, SCENES).scene(0).image).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "masks"), str(tmp_path / "a.png"), "--threshold", "0", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert records[0]["segmentation"]["size"] == [64, 64]
    assert main(["evaluate", str(tmp_path / "masks"), "scenes"]) == 0
    assert "mask IoU" in capsys.readouterr().out


def test_scenes_have_masks() -> None:
    splits = open_boxes("scenes", DataConfig(scenes=SCENES))
    assert splits.train.with_boxes(0).masks is not None
