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
from saccade.data.builtin.scenes import SceneSource
from saccade.data.config import DataConfig, ScenesConfig
from saccade.data.preprocessing import Preprocessing
from saccade.data.rle import decode_rle
from saccade.engine.collect import Collected
from saccade.engine.evaluation import evaluate
from saccade.errors import ConfigError
from saccade.models.detr import DETR, DetrOutput, detr_small_config
from saccade.tasks.detection.batches import BoxDataset, BoxTransform
from saccade.tasks.detection.masks import masks_at_size
from saccade.tasks.detection.panoptic import PanopticTask
from saccade.tasks.detection.panoptic_metrics import (
    PanopticMetrics,
    SegmentOverlaps,
    panoptic_metrics,
    segment_overlaps,
)
from saccade.tasks.detection.results import PanopticSegmentation
from saccade.tasks.detection.setup import detector_preprocessing
from saccade.tasks.detection.sources import open_boxes

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
    assert tiny.ids.shape == (2, 2)


def test_cocos_classes_of_stuff_are_known() -> None:
    assert PanopticTask(tuple(map(str, range(250)))).stuff == frozenset(range(91, 250))
    assert PanopticTask(tuple(map(str, range(249)))).stuff == frozenset()


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


def test_the_masks_of_the_data_have_panoptic_quality_one() -> None:
    """As the predictions of queries; a query fewer is an object missed."""
    source = SceneSource("train", 3, ScenesConfig(size=(64, 80), digits=(3, 5)))
    dataset = BoxDataset(source, BoxTransform(Preprocessing((64, 80), crop_pct=1.0)), masks=True, segments=True)
    batch, _ = dataset.collate([dataset[i, ()] for i in range(3)])
    assert isinstance(batch.labels, dict)
    task = PanopticTask(source.classes, threshold=0.5)
    classes, masks = batch.labels["classes"], 10.0 * batch.labels["masks"].float() - 5

    def measured(classes: torch.Tensor) -> PanopticMetrics:
        one_hot = torch.nn.functional.one_hot(torch.where(classes < 0, 10, classes), 11)
        outputs = DetrOutput(9.0 * one_hot, torch.zeros(3, classes.shape[1], 4), masks=masks)
        return task.measure(Collected(task.collect(outputs, batch), batch.names))

    whole = measured(classes)
    assert whole.pq == pytest.approx(1.0)
    assert whole.segments == int((classes >= 0).sum())
    fewer = classes.clone()
    fewer[0, 0] = -1
    assert sum(row.false_negatives for row in measured(fewer).per_class) == 1
    with pytest.raises(ConfigError, match="a mask for every box"):
        task.collect(DetrOutput(torch.zeros(3, 5, 11), torch.zeros(3, 5, 4)), batch._replace(labels={}))


def test_segments_of_one_pixel_count_and_those_of_none_do_not() -> None:
    """True positive of one pixel; a predicted and a true segment without pixels; a predicted one of another class."""
    pixels = torch.zeros(4, 4, dtype=torch.int64)
    pixels[1, 1], pixels[3, 0], pixels[3, 3] = 1, 1, 3
    pred, target = torch.tensor([CAT, CAT, GRASS]), torch.tensor([CAT, CAT, CAT])
    image = SegmentOverlaps(pred, target, torch.zeros(3, dtype=torch.bool), pixels)
    metrics = panoptic_metrics([image], ("cat", "grass", "sky"), stuff=(1,))
    cat, grass, sky = metrics.per_class
    assert (cat.true_positives, cat.false_positives, cat.false_negatives) == (1, 0, 1)
    assert (cat.pq, cat.sq, cat.rq) == pytest.approx((2 / 3, 1, 2 / 3))
    assert (grass.pq, grass.sq, grass.rq, grass.false_positives) == (0, 0, 0, 1)
    assert (sky.pq, sky.sq, sky.rq) == (-1, -1, -1)
    assert (metrics.pq, metrics.pq_stuff, metrics.segments) == (pytest.approx(1 / 3), 0, 2)
    assert metrics.scalars()["PQ stuff"] == 0
    lines = metrics.table().splitlines()
    assert [line.split()[0] for line in lines] == ["class", "cat", "grass"]
    assert {len(line) for line in lines[1:]} == {len("grass  0.000  0.000  0.000      0      1      0")}
    only = pixels.clone()
    only[3, 3] = 1  # missed
    assert panoptic_metrics([image._replace(pixels=only)], ("cat", "grass", "sky")).per_class[0].false_negatives == 1
    missed = panoptic_metrics([image._replace(pred_labels=pred + 1)], ("cat", "grass", "sky"))
    assert (missed.pq, missed.warning) == (0, "")
    nothing = panoptic_metrics([image._replace(pixels=pixels * 0)], ("cat",) * 3)
    assert (nothing.pq, nothing.scalars()) == (-1, {})
    assert nothing.table() == "class     PQ     SQ     RQ     TP     FP     FN"
    assert "undefined" in nothing.warning


def test_the_panoptic_quality_of_a_model(tmp_path, capsys) -> None:
    """The command gives that of the predicted maps and the masks of the images; classes of the data go under the
    numbers that they have in the model."""
    options = {"masks": True, "num_queries": 5, "backbone_config.width": 8}
    net = saccade.create("detr_small", num_classes=10, options=options)
    net.class_embed.bias.data[10] = -9.0
    labels = tuple(reversed("0123456789"))
    save_model_dir(tmp_path / "model", LoadedModel(net, "detr", labels, detector_preprocessing(net), task="detection"))
    data = str(tmp_path / "scenes")
    assert main(["data", "scenes", data, "--train", "3", "--val", "0", "--test", "0"]) == 0
    predictor = saccade.load(tmp_path / "model", options={"panoptic": True, "threshold": 0.0})
    result = evaluate(predictor, data, split="all", batch_size=2, workers=0)
    source = open_boxes(data, DataConfig(val_fraction=0.0, test_fraction=0.0)).train
    images = []
    for index in range(3):
        sample = source.with_boxes(index)  # type: ignore[attr-defined]
        pred = predictor.predict(sample.image)
        target = torch.tensor([labels.index(source.classes[n]) for n in sample.labels])
        truth = torch.from_numpy((sample.masks * np.arange(1, len(target) + 1)[:, None, None]).max(0))
        classes = torch.tensor([labels.index(segment.label) for segment in pred.segments])
        pixels = segment_overlaps(torch.from_numpy(pred.ids), truth, len(classes), len(target))
        images.append(SegmentOverlaps(classes, target, torch.zeros(len(target), dtype=torch.bool), pixels))
    assert result.metrics.to_dict() == panoptic_metrics(images, labels).to_dict()
    assert predictor.task.resampler(result.collected)(torch.arange(3)) == result.metrics.scalars()
    twice = panoptic_metrics([images[0], images[0], images[2]], labels).scalars()
    assert predictor.task.resampler(result.collected)(torch.tensor([0, 0, 2])) == pytest.approx(twice)
    capsys.readouterr()
    command = ["evaluate", str(tmp_path / "model"), data, "--panoptic"]
    assert main([*command, "--split", "all"]) == 0
    assert "segments in" in capsys.readouterr().out
    assert main([*command, "--stages"]) == 2
    assert "without --panoptic" in capsys.readouterr().err


def test_a_detector_without_a_mask_head_has_no_segments(tmp_path, capsys) -> None:
    net = saccade.create("yolo_small", num_classes=2, image_size=64)
    loaded = LoadedModel(net, "yolo", ("ant", "bee"), detector_preprocessing(net), task="detection")
    save_model_dir(tmp_path / "model", loaded)
    assert main(["predict", str(tmp_path / "model"), "a.png", "--panoptic"]) == 2
    assert "mask head" in capsys.readouterr().err
