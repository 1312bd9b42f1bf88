"""Instance masks and panoptic segmentation, on constructed logits."""

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
from saccade.models.detr import DETR, DetrOutput, detr_small_config
from saccade.tasks.detection.masks import masks_at_size
from saccade.tasks.detection.panoptic import PanopticTask
from saccade.tasks.detection.results import PanopticSegmentation
from saccade.tasks.detection.setup import detector_preprocessing

CAT, GRASS, NO_OBJECT = 0, 1, 2


def logits_of(*rows: tuple[int, float]) -> torch.Tensor:
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


def decoded(
    logits: torch.Tensor, masks: torch.Tensor, size: tuple[int, int], stuff: tuple[str, ...] = ()
) -> PanopticSegmentation:
    task = PanopticTask(("cat", "grass"), stuff=stuff)
    batch = task.input_batch([torch.zeros(3, 16, 16)], [size], ["a.png"])
    (result,) = task.decode(DetrOutput(logits[None], torch.zeros(1, len(logits), 4), masks=masks[None]), batch)
    return result


def test_things_are_counted_and_stuff_is_one() -> None:
    logits = logits_of((CAT, 0.9), (CAT, 0.95), (GRASS, 0.9), (GRASS, 0.99), (CAT, 0.5), (NO_OBJECT, 0.99))
    masks = halves(slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 8), slice(0, 8), slice(0, 8))
    result = decoded(logits, masks, (8, 8), stuff=("grass",))
    assert [(s.label, s.area) for s in result.segments] == [("cat", 16), ("cat", 16), ("grass", 32)]
    assert result.ids[0].tolist() == [1, 1, 2, 2, 3, 3, 3, 3]
    assert result.segments[0].score == pytest.approx(0.9, abs=1e-5)
    assert str(result) == "a.png: grass 32 px, cat 16 px, cat 16 px"
    assert [row[1:3] for row in result.rows()] == [(3, "grass"), (1, "cat"), (2, "cat")]
    assert len(decoded(logits, masks, (8, 8)).segments) == 4


def test_what_is_too_small_gives_its_pixels_to_others() -> None:
    masks = halves(slice(0, 8), slice(0, 0))
    masks[1, 0, :4] = 9.0  # four pixels
    result = decoded(logits_of((CAT, 0.9), (CAT, 0.9)), masks, (8, 8))
    assert [s.area for s in result.segments] == [64]
    assert set(result.ids.flat) == {1}


def test_no_confident_query_is_no_segment() -> None:
    result = decoded(logits_of((CAT, 0.6), (NO_OBJECT, 0.99)), halves(slice(0, 8), slice(0, 8)), (4, 6))
    assert result.segments == ()
    assert result.ids.shape == (4, 6)
    assert not result.ids.any()
    tiny = decoded(logits_of((CAT, 0.9)), halves(slice(0, 8)), (2, 2))
    assert tiny.segments == ()


def with_mask_head() -> DETR:
    """A small one of two classes and five queries."""
    torch.manual_seed(0)
    config = detr_small_config()
    backbone = replace(config.backbone_config, depths=(1, 1, 1, 1), width=8)
    block = replace(config.block, num_heads=8)
    config = replace(config, block=block, masks=True, num_classes=2, num_queries=5, backbone_config=backbone)
    return DETR(config).eval()


def test_a_detector_with_a_mask_head_predicts_masks(tmp_path) -> None:
    net = with_mask_head()
    loaded = LoadedModel(net, "detr", ("ant", "bee"), detector_preprocessing(net), task="detection")
    save_model_dir(tmp_path / "model", loaded)
    predictor = saccade.load(tmp_path / "model", options={"threshold": 0.0})
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    detection = predictor.predict(image)
    assert len(detection.boxes) == 5
    with torch.no_grad():
        outputs = net(predictor.prepare(image)[None])
    order = outputs.logits.softmax(-1)[0, :, :-1].max(-1).values.argsort(descending=True)
    size = outputs.masks.shape[-2:]
    masks = masks_at_size(outputs.masks[0], size, size, (96, 128)) > 0
    for box, query in zip(detection.boxes, order):
        np.testing.assert_array_equal(decode_rle(box.segmentation), masks[query].numpy())
    assert detection.draw(image).shape == (384, 512, 3)
    assert [record["segmentation"] for record in detection.records()] == [b.segmentation for b in detection.boxes]


def test_the_command_numbers_segments(tmp_path, capsys) -> None:
    net = with_mask_head()
    net.class_embed.bias.data[2] = -9.0  # every query predicts an object
    loaded = LoadedModel(net, "detr", ("ant", "bee"), detector_preprocessing(net), task="detection")
    save_model_dir(tmp_path / "model", loaded)
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    command = ["predict", str(tmp_path / "model"), str(tmp_path / "a.png"), "--panoptic", "--threshold", "0.1"]
    assert main([*command, "--draw", str(tmp_path / "out"), "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    coded = np.asarray(Image.open(tmp_path / "out" / record["file_name"])).astype(int)
    ids = coded[..., 0] + 256 * coded[..., 1]
    assert {s["id"]: s["area"] for s in record["segments_info"]} == {i: int((ids == i).sum()) for i in set(ids.flat)}
    assert Image.open(tmp_path / "out" / "a.png").size == (512, 384)
    assert main([*command, "--stuff", "ant,bee", "--json"]) == 0
    (fewer,) = json.loads(capsys.readouterr().out)
    labels = [s["category_name"] for s in fewer["segments_info"]]
    assert len(labels) == len(set(labels))  # all that is of one kind of stuff is one segment
    assert main([*command, "--stuff", "cat"]) == 2
    assert main([*command[:3], "--stuff", "ant"]) == 2
    assert "--panoptic" in capsys.readouterr().err


def test_a_detector_without_a_mask_head_has_no_segments(tmp_path, capsys) -> None:
    net = saccade.create("yolo_small", num_classes=2, image_size=64)
    loaded = LoadedModel(net, "yolo", ("ant", "bee"), detector_preprocessing(net), task="detection")
    save_model_dir(tmp_path / "model", loaded)
    assert main(["predict", str(tmp_path / "model"), "a.png", "--panoptic"]) == 2
    assert "mask head" in capsys.readouterr().err
