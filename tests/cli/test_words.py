"""What a run prints before it starts where it cannot: settings out of range, checkpoints of another family."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.cli.main import main
from saccade.data.images import read_image
from saccade.data.preprocessing import Preprocessing
from saccade.errors import ConfigError, ImageError
from saccade.tasks.loading import predictor_of


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.clip_norm=-1", "optimizer.clip_norm must be 0 or more, and finite, not -1.0"),
        ("optimizer.betas=[0.9, 3]", "optimizer.betas[1] must be in [0, 1), not 3.0"),
        ("optimizer.eps=-1", "optimizer.eps must be positive"),
        ("optimizer.lr=.inf", "optimizer.lr must be at most 1000000, not inf"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay must be 0 or more"),
        ("optimizer.layer_decay=0", "optimizer.layer_decay must be in (0, 10], not 0.0"),
        ("model.image_size=[0, 0]", "model.image_size[0] must be at least 1, not 0"),
        ("model.in_channels=0", "model.in_channels must be at least 1, not 0"),
        ("data.workers=-1", "data.workers must be 0 or more"),
        ("data.val_fraction=2", "data.val_fraction must be in [0, 1), not 2.0"),
        ("schedule.warmup=3", "schedule.warmup must be in [0, 1], not 3.0"),
        ("schedule.final_lr=-2", "schedule.final_lr must be in [0, 1], not -2.0"),
        ("augmentation.flip=3", "augmentation.flip must be in [0, 1], not 3.0"),
        ("augmentation.color_jitter=-1", "augmentation.color_jitter must be 0 or more"),
        ("augmentation.erasing=7", "augmentation.erasing must be in [0, 1], not 7.0"),
        ("augmentation.repeats=0", "augmentation.repeats must be in [1, 1000], not 0"),
        ("seed=-1", "seed must be 0 or more"),
        ("model.options={depth: abc}", "model.options.depth takes a whole number, not 'abc'"),
        ("model.options={depth: -2}", "model.options.depth must be at least 0, not -2"),
        ("model.options={dept: 2}", "model.options.dept is no option of ConvViTConfig; did you mean depth?"),
        ("model.options={image_size: 5}", "model.options.image_size must be a height and a width"),
        ("model.options={block.num_heads: x}", "model.options.block.num_heads takes a whole number, not 'x'"),
        ("model.options={block: {mlp_dim: -4}}", "model.options.block.mlp_dim must be at least 1, not -4"),
        ("model.options={block.activation: 5}", "model.options.block.activation must be one of gelu"),
        ("device=meta", "device meta: its tensors have no numbers; use cpu or auto"),
    ],
)
def test_settings_out_of_range_are_named(setting: str, message: str, capsys) -> None:
    assert main(["train", "digits", "--set", setting, "--dry-run"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0, not -1"),
        ({"num_classes": 2.5}, "num_classes must be a whole number of at least 0, not 2.5"),
        ({"in_channels": 0}, "in_channels must be a whole number of at least 1, not 0"),
        (
            {"image_size": (32, 0)},
            r"image_size must be a height and a width in pixels.*not \(32, 0\)",
        ),
        ({"options": {"block.mlp_dim": -4}}, "block.mlp_dim must be at least 1, not -4"),
        ({"options": {"block.activation": 5}}, "activation must be one of gelu"),
    ],
)
def test_a_model_that_cannot_be_is_named(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        saccade.create("vit_ti16", **changes)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A detector, a classifier and a model of texts, each saved alone."""
    sizes = {"detector": ("detr_small", 128, 2), "classifier": ("vit_digits", 8, 2)}
    for name, (model, side, classes) in sizes.items():
        torch.manual_seed(0)
        how = Preprocessing((side, side), channels=1 if side == 8 else 3, mean=(0.5,) * (1 if side == 8 else 3),
                            std=(0.5,) * (1 if side == 8 else 3))  # fmt: skip
        saccade.save(saccade.create(model, num_classes=classes), tmp_path / name, labels=["a", "b"], preprocessing=how)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "init", "message"),
    [
        (
            ["digits"],
            "detector",
            "is a detr, which has no vector of an image for a new head: --init takes an image cla",
        ),
        (["numbers", "--task", "seq2seq"], "classifier", "is a vit, and a model that reads texts starts from another"),
        (["scenes", "--task", "depth"], "classifier", "differs from that of the DPT"),
        (["digits", "--task", "masked_image"], "classifier", "is a vit, which masks no patches"),
    ],
)
def test_init_of_another_family_is_refused(
    arguments: list[str], init: str, message: str, checkpoints: Path, capsys
) -> None:
    assert main(["train", *arguments, "--init", str(checkpoints / init), "--dry-run"]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_size_that_does_not_fit_the_patches_is_refused(capsys) -> None:
    assert main(["train", "digits", "--model", "vit_digits", "--image-size", "9", "--dry-run"]) == 2
    assert "cannot be cut into patches" in capsys.readouterr().err


def test_explain_of_a_detector_without_objects_has_the_scores(checkpoints: Path) -> None:
    predictor = saccade.load(checkpoints / "detector")
    with torch.no_grad():
        predictor.model.class_embed.bias[-1] += 5.0  # the background
    drawing = saccade.explain(predictor, torch.zeros(3, 128, 128))
    (line,) = drawing.lines
    assert line.startswith("image 0: no objects (the highest score is 0.")
    assert line.endswith(", the threshold 0.5)")


def test_a_repr_is_short() -> None:
    net = saccade.create("vit_digits", num_classes=2)
    how = Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.5,))
    predictor = predictor_of(LoadedModel(net, "vit", ("a", "b"), how))
    with saccade.record(net) as trace:
        net(torch.zeros(1, 1, 8, 8))
    for value in (predictor, predictor(torch.zeros(1, 8, 8)), trace):
        assert len(repr(value)) < 700
        assert "tensor(" not in repr(value)


def test_a_batch_of_another_shape_is_a_sentence() -> None:
    net = saccade.create("vit_ti16", image_size=32, options={"depth": 1})
    how = Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    predictor = predictor_of(LoadedModel(net, "vit", tuple(map(str, range(1000))), how))
    with pytest.raises(ConfigError, match=r"a batch \[B, 3, H, W\], not \[3, 32, 32\]; add the batch dimension"):
        predictor.run(torch.zeros(3, 32, 32))
    assert predictor.run(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize("name", ["gpu", "cuda:x"])
def test_a_device_that_is_none(name: str) -> None:
    with pytest.raises(ConfigError, match="is no device: use auto, cpu, cuda, cuda:1 or mps"):
        saccade.load("runs/nothing", device=name)


@pytest.mark.filterwarnings("error")
def test_the_array_of_a_pil_image_is_read_without_a_warning() -> None:
    net = saccade.create("vit_ti16", num_classes=2, image_size=32, options={"depth": 1})
    how = Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    predictor = predictor_of(LoadedModel(net, "vit", ("a", "b"), how))
    image = Image.new("RGB", (40, 30), (3, 200, 40))
    assert predictor(np.asarray(image)).to_dict() == predictor(image).to_dict()


def test_loading_leaves_the_random_state_alone(checkpoints: Path) -> None:
    saccade.load(checkpoints / "classifier")
    torch.manual_seed(3)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    predictor = saccade.load(checkpoints / "classifier", device="auto")
    predictor(torch.zeros(1, 8, 8))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(64), "it has nothing but zeros; replace or remove it"),
        (b'{"a": 1}', "its content is JSON or other text; replace or remove it"),
        (b"", "the file is empty; copy or download it again"),
        (b"<!doctype html><html>404</html>", "its content is HTML; a web page was stored in place of the image"),
        (b"%PDF-1.4 1 0 obj", "its content is a PDF document; convert it to JPEG or PNG"),
    ],
)
def test_what_is_no_image_is_named_with_what_to_do(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=re.escape(message)):
        read_image(tmp_path / "x.jpg")
