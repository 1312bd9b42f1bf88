"""Masks of things, and one segment for every pixel, on constructed logits."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.rle import decode_rle
from saccade.models.detr import DETR, detr_small_config
from saccade.reporting.draw import draw_boxes
from saccade.tasks.panoptic import instance_masks, panoptic
from saccade.training.jobs.detect import boxed_preprocessing

CAT, GRASS, NOTHING = 0, 1, 2


def said(*rows: tuple[int, float]) -> torch.Tensor:
    """Logits of queries that give a class a probability."""
    logits = torch.zeros(len(rows), 3)
    for row, (label, score) in enumerate(rows):
        rest = (1 - score) / 2
        logits[row] = torch.tensor([rest] * 3).log()
        logits[row, label] = torch.tensor(score).log()
    return logits


def halves(*columns: slice) -> torch.Tensor:
    masks = torch.full((len(columns), 8, 8), -5.0)
    for row, chosen in enumerate(columns):
        masks[row, :, chosen] = 5.0 + row
    return masks


def test_things_are_counted_and_stuff_is_one() -> None:
    logits = said((CAT, 0.9), (CAT, 0.95), (GRASS, 0.9), (GRASS, 0.99), (CAT, 0.5), (NOTHING, 0.99))
    masks = halves(slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8), slice(0, 8), slice(0, 8))
    found = panoptic(logits, masks, (8, 8), stuff={GRASS})
    assert [(s.label, s.area) for s in found.segments] == [(CAT, 16), (CAT, 16), (GRASS, 32)]
    assert found.ids[0].tolist() == [1, 1, 2, 2, 3, 3, 3, 3]
    assert found.segments[0].score == pytest.approx(0.9, abs=1e-5)
    apart = panoptic(logits, masks, (8, 8))
    assert len(apart.segments) == 4


def test_what_is_too_small_gives_its_pixels_to_others() -> None:
    masks = halves(slice(0, 8), slice(0, 0))
    masks[1, 0, :4] = 9.0  # four pixels
    found = panoptic(said((CAT, 0.9), (CAT, 0.9)), masks, (8, 8))
    assert [s.area for s in found.segments] == [64]
    assert found.ids.unique().tolist() == [1]


def test_nothing_sure_is_nothing() -> None:
    found = panoptic(said((CAT, 0.6), (NOTHING, 0.99)), halves(slice(0, 8), slice(0, 8)), (4, 6))
    assert found.segments == ()
    assert found.ids.shape == (4, 6)
    assert not found.ids.any()
    tiny = panoptic(said((CAT, 0.9)), halves(slice(0, 8)), (2, 2))
    assert tiny.segments == ()


def with_mask_head() -> DETR:
    """A small one of two classes and five queries."""
    torch.manual_seed(0)
    config = detr_small_config()
    backbone = replace(config.backbone_config, depths=(1, 1, 1, 1), width=8)
    block = replace(config.block, num_heads=8)
    config = replace(config, block=block, masks=True, num_classes=2, num_queries=5, backbone_config=backbone)
    return DETR(config).eval()


def test_a_detector_with_masks_tells_them(tmp_path) -> None:
    net = with_mask_head()
    loaded = LoadedModel(net, "detr", ("ant", "bee"), boxed_preprocessing(net), task="detection")
    save_model_dir(tmp_path / "model", loaded)
    predictor = saccade.load(tmp_path / "model")
    predictor.about.threshold = 0.0
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    found = predictor.predict(image)
    assert len(found.boxes) == 5
    with torch.no_grad():
        outputs = net(predictor.prepare(image)[None])
    order = outputs.logits.softmax(-1)[0, :, :-1].max(-1).values.argsort(descending=True)
    masks = instance_masks(outputs.masks[0], (96, 128))
    for box, query in zip(found.boxes, order):
        np.testing.assert_array_equal(decode_rle(box.segmentation), masks[query].numpy())
    assert draw_boxes(image, found.boxes, predictor.labels).shape == (384, 512, 3)


def test_the_command_numbers_segments(tmp_path, capsys) -> None:
    net = with_mask_head()
    net.class_embed.bias.data[2] = -9.0  # every query has found something
    loaded = LoadedModel(net, "detr", ("ant", "bee"), boxed_preprocessing(net), task="detection")
    save_model_dir(tmp_path / "model", loaded)
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    asked = ["predict", str(tmp_path / "model"), str(tmp_path / "a.png"), "--panoptic", "--threshold", "0.1"]
    assert main([*asked, "--draw", str(tmp_path / "out"), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    coded = np.asarray(Image.open(tmp_path / "out" / told["file_name"])).astype(int)
    ids = coded[..., 0] + 256 * coded[..., 1]
    assert {s["id"]: s["area"] for s in told["segments_info"]} == {i: int((ids == i).sum()) for i in set(ids.flat)}
    assert Image.open(tmp_path / "out" / "a.png").size == (512, 384)
    assert main([*asked, "--stuff", "ant,bee", "--json"]) == 0
    (fewer,) = json.loads(capsys.readouterr().out)
    labels = [s["category_name"] for s in fewer["segments_info"]]
    assert len(labels) == len(set(labels))  # all that is of one kind of stuff is one segment
    assert main([*asked, "--stuff", "cat"]) == 2
