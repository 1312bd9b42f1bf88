"""Importance of heads and blocks: what adds nothing changes nothing, and what decides everything shows."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import saccade
from saccade.analysis.importance import measure_dependence, measure_importance
from saccade.analysis.inputs import ImageBatches, open_images
from saccade.cli.main import main
from saccade.errors import ConfigError


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--epochs", "3", "--output", str(run)]) == 0
    return run


def test_a_part_without_weights_changes_nothing_and_the_intervals_are_paired(trained: Path) -> None:
    predictor = saccade.load(trained)
    attention = predictor.model.get_submodule("blocks.0.attn")
    width = attention.value_dim // attention.num_heads
    with torch.no_grad():
        attention.proj.weight[:, width : 2 * width] = 0
    importance = measure_importance(
        predictor, open_images(predictor, "digits", limit=60), metric="negative log likelihood"
    )
    by_part = {(part.path, part.head): part for part in importance.parts}
    dead = by_part["blocks.0.attn", 1]
    assert (dead.change, dead.low, dead.high) == (0, 0, 0)
    assert not dead.matters
    assert len(importance.parts) == 2 * 4 + 2
    part = by_part["blocks.1", None]
    assert part.low <= part.change <= part.high
    with pytest.raises(ConfigError, match="no metric 'map'; there are accuracy"):
        measure_importance(predictor, open_images(predictor, "digits", limit=60), metric="map")
    del predictor.model.blocks[1]
    shorter = measure_importance(
        predictor, open_images(predictor, "digits", limit=60), metric="negative log likelihood"
    )
    assert part.change == pytest.approx(shorter.value - importance.value)


def test_without_targets_it_is_what_the_model_itself_predicts(trained: Path) -> None:
    predictor = saccade.load(trained)
    batches = [batch.inputs for batch in open_images(predictor, "digits", limit=12, batch_size=8).batches]
    importance = measure_dependence(predictor, open_images(predictor, "digits", limit=12, batch_size=8))
    with torch.no_grad():
        whole = torch.cat([predictor.run(inputs) for inputs in batches]).double().softmax(1)
        with saccade.intervene(predictor.model, heads={"blocks.1.attn": [3]}):
            without = torch.cat([predictor.run(inputs) for inputs in batches]).double().softmax(1)
    best = whole.argmax(1, keepdim=True)
    part = next(part for part in importance.parts if (part.path, part.head) == ("blocks.1.attn", 3))
    assert importance.value == pytest.approx(whole.gather(1, best).mean().item(), abs=1e-6)
    assert part.change == pytest.approx((without - whole).gather(1, best).mean().item(), abs=1e-6)
    assert part.low <= part.change <= part.high
    with torch.no_grad():
        predictor.model.blocks[1].attn.proj.weight.zero_()
    changes = {(p.path, p.head): p.change for p in measure_dependence(
        predictor, open_images(predictor, "digits", limit=2)).parts}  # fmt: skip
    assert all(changes["blocks.1.attn", head] == 0 for head in range(4))


def test_of_models_without_classes_it_is_the_change_of_the_output() -> None:
    from tests.analysis.test_points import created

    predictor = created("detr_small", "detection")
    images = ImageBatches([predictor.task.input_batch([torch.rand(3, 64, 64)], [(64, 64)], ["a"])], 1, "one image")
    importance = measure_dependence(predictor, images)
    assert importance.metric.startswith("1 - relative change")
    assert importance.value == 1
    assert all(part.change <= 0 for part in importance.parts)
    assert min(part.change for part in importance.parts) < 0


def test_the_command(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["analyze", "heads", str(trained), "digits", "--images", "30", "-o", str(tmp_path / "out")]) == 0
    assert "its change without a part" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "out/heads.json").read_text())
    assert len(numbers["parts"]) == 10
    Image.new("L", (8, 8), 90).save(tmp_path / "grey.png")
    assert main(["analyze", "heads", str(trained), str(tmp_path / "grey.png"), "-o", str(tmp_path / "grey")]) == 0
    assert "probability of the predicted class" in capsys.readouterr().out
    assert main(["analyze", "heads", str(trained), str(tmp_path / "grey.png"), "--metric", "accuracy"]) == 2
    assert (tmp_path / "out/heads.png").stat().st_size > 1000
