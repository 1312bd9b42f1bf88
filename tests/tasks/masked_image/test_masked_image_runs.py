"""Pre-training without labels and what comes after it: one loop, from the command line and from Python."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.checkpoints.loading import load_model
from saccade.checkpoints.pretrained import as_classifier, is_pretrained
from saccade.cli.main import main
from saccade.data.config import DataConfig
from saccade.data.image_folder import open_data, open_unlabelled
from saccade.engine.evaluation import evaluate
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError, DataError
from saccade.models.vit import VisionTransformer
from saccade.models.zoo import architecture_of
from saccade.tasks.masked_image.results import Reconstruction
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.photos import make_photos
from tests.running import train

SMALL = {"task": "masked_image", "schedule.steps": 30, "preflight": False, "data.check": "off", "batch_size": 64}


def pretrained(place: Path, **changes: object) -> RunDirectory:
    config = resolve(overrides={**SMALL, **changes})
    return train(config, RunDirectory.create(config, place)).run


@pytest.mark.parametrize("model", ["mae_digits", "masked_vit_digits"])
def test_the_encoder_starts_a_classifier(tmp_path: Path, model: str) -> None:
    run = pretrained(tmp_path / "pre", **{"model.name": model})
    stored = json.loads((run.path / "predictions.json").read_text())
    assert stored["metrics"]["images"] == 360
    assert stored["predictions"] == []
    evaluation = evaluate(saccade.load(run.path), "digits", workers=0)
    assert evaluation.split == "test"
    assert evaluation.metrics.to_dict() == pytest.approx(stored["metrics"], rel=1e-5)
    loaded = load_model(run.path)
    assert loaded.task == "masked_image"
    assert is_pretrained(loaded)
    vit = as_classifier(loaded).model
    assert isinstance(vit, VisionTransformer)
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        theirs = loaded.model.get_submodule("encoder.blocks")(torch.ones(1, 5, 64)).tokens
        assert torch.equal(vit.encoder.blocks(torch.ones(1, 5, 64)).tokens, theirs)
        assert vit.embed(images).shape == (2, 64)
    assert (
        main(
            ["train", "--init", str(run.path), "--recipe", "digits", "--steps", "3", "--output", str(tmp_path / "fine")]
        )
        == 0
    )
    fine = saccade.load(tmp_path / "fine")
    assert len(fine.labels) == 10
    assert (tmp_path / "fine" / "report.html").is_file()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_classifier_learns_faster_after_it(tmp_path: Path) -> None:
    """Sixty steps leave fresh weights at guessing; from a masked autoencoder's encoder they do not."""
    # The recipe of the digits: `mae` has the paper's learning rate, for large batches and many more steps.
    run = pretrained(tmp_path / "pre", **{"recipe": "mae_digits", "schedule.steps": 500})
    losses = {}
    for name, start in (("fresh", {"model.name": "vit_digits"}), ("after", {"model.init": str(run.path)})):
        config = resolve("digits", overrides={**start, "preflight": False, "data.check": "off", "schedule.steps": 60})
        result = train(config, RunDirectory.create(config, tmp_path / name))
        losses[name] = result.metrics.scalars()["loss"]
    assert losses["after"] < losses["fresh"] - 0.3


def test_a_run_without_labels_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    changes = {"schedule.epochs": 2, "schedule.steps": None, "batch_size": 256, "model.name": "mae_digits"}
    changes["model.options"] = {"depth": 1, "decoder_depth": 1}
    whole = pretrained(tmp_path / "whole", **changes)

    def stop(event: object) -> None:
        if getattr(event, "step", 0) == 7:  # of the second epoch, of five steps each
            raise KeyboardInterrupt

    config = resolve(overrides={**SMALL, **changes, "checkpoint_seconds": 0})
    cut = RunDirectory.create(config, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        train(config, cut, on_event=stop)
    train(config, cut, resume=True)
    one, other = (load_model(run.path).model.state_dict() for run in (whole, cut))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_the_command_writes_model_report_and_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "loose"
    folder.mkdir()
    photos = make_photos(tmp_path / "photos", count=12)
    for index, path in enumerate(sorted(photos.rglob("*.png"))):
        Image.open(path).save(folder / f"{index}.png")
    options = ["--set", "model.options={depth: 1, block.embed_dim: 32, block.num_heads: 2, decoder_depth: 1}"]
    size = ["--image-size", "32", "--batch-size", "8", "--steps", "3", "--set", "preflight=false"]
    run = tmp_path / "run"
    assert main(["pretrain", str(folder), "--model", "mae_ti16", *size, *options, "--output", str(run)]) == 0
    assert "saccade train DATA --init" in capsys.readouterr().out
    page = (run / "report.html").read_text()
    assert "Reconstructions" in page
    assert page.count("<figure>") == 5  # the held-out images
    assert "without labels" in (run / "model" / "README.md").read_text()
    assert main(["pretrain", "--resume", str(run), "--batch-size", "4"]) == 2
    assert main(["pretrain", "--resume", str(run), "--steps", "2"]) == 2
    assert main(["pretrain", "--resume", str(run), "--steps", "4"]) == 0  # trains longer


def test_reconstructions_keep_the_visible_patches(tmp_path: Path) -> None:
    predictor = saccade.load(pretrained(tmp_path / "run", **{"model.name": "mae_digits"}).path)
    source = open_data("digits").test
    assert source is not None
    result = predictor.predict(source.image(0))
    assert isinstance(result, Reconstruction)
    assert (result.num_masked, result.num_patches) == (12, 16)
    assert result.masked.shape == result.reconstruction.shape == result.original.shape == (8, 8, 3)
    visible = (result.masked != 128).all(axis=-1)  # masked patches are grey
    assert visible.sum() >= 16
    assert (result.reconstruction[visible] == result.original[visible]).all()
    assert (result.reconstruction[~visible] != result.original[~visible]).any()
    collected = predictor.task.collect(
        predictor.model(predictor.prepare(source.image(0))[None]),
        predictor.task.input_batch([predictor.prepare(source.image(0))], [(8, 8)], ["zero"]),
    )
    assert result.loss == pytest.approx(collected["error"].item() / 12, rel=1e-5)


@pytest.mark.parametrize("model", ["mae_digits", "masked_vit_digits"])
def test_the_commands_of_a_masked_model(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Evaluate, predict and explain, which took it for a classifier without classes."""
    torch.manual_seed(0)
    net = saccade.create(model)
    save_model_dir(
        tmp_path / "model", LoadedModel(net, architecture_of(model), (), fresh_preprocessing(net), "pretraining")
    )  # old name
    place, image = str(tmp_path / "model"), str(tmp_path / "image.png")
    Image.new("L", (8, 8), 90).save(image)
    assert main(["evaluate", place, "digits"]) == 0
    assert "on the masked patches of 360 images" in capsys.readouterr().out
    assert main(["predict", place, image, "--json", "--draw", str(tmp_path / "drawn")]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record.keys() == {"image", "loss", "masked_patches", "patches"}
    drawn = Image.open(tmp_path / "drawn" / "image.png")
    assert drawn.width > 3 * 256  # original, masked, reconstruction
    assert Image.open(tmp_path / "drawn" / "image-reconstruction.png").size == (8, 8)
    assert main(["predict", place, image, "--csv"]) == 0
    assert capsys.readouterr().out.startswith("image,loss,masked_patches,patches\n")
    assert main(["explain", place, image, "-o", str(tmp_path / "attention.png")]) == 0
    assert (tmp_path / "attention.png").is_file()
    assert main(["predict", place, image, "--top", "3"]) == 2
    assert "no option top" in capsys.readouterr().err


def test_an_unknown_task_is_an_error(tmp_path: Path) -> None:
    net = saccade.create("mae_digits")
    save_model_dir(tmp_path / "model", LoadedModel(net, "mae", (), fresh_preprocessing(net), task="sorting"))
    with pytest.raises(ConfigError, match="there is no task 'sorting'"):
        saccade.load(tmp_path / "model")


def test_held_out_images_are_those_of_the_classifier(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", count=20)
    labelled, plain = open_data(str(photos), DataConfig()), open_unlabelled(str(photos), DataConfig())
    for split in ("train", "val", "test"):
        assert set(getattr(labelled, split).names) == set(getattr(plain, split).names)
    assert plain.classes == ("image",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_unlabelled(str(tmp_path / "empty"))


def test_splits_without_classes(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("test", 2)):
        (tmp_path / split).mkdir()
        for index in range(count):
            Image.new("RGB", (8, 8), (index * 9, 0, 0)).save(tmp_path / split / f"{index}.png")
    found = open_unlabelled(str(tmp_path))
    assert len(found.train) + (0 if found.val is None else len(found.val)) == 5
    assert found.test is not None
    assert len(found.test) == 2


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"model.name": "vit_ti16"}, "mae_digits"),
        ({"augmentation.mixup": 0.5}, "mixes labels"),
        ({"distillation.teacher": "x"}, "no option distillation"),
    ],
)
def test_refusals(tmp_path: Path, overrides: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        pretrained(tmp_path / "run", **overrides)


def test_a_masked_autoencoder_is_not_trained_as_a_classifier() -> None:
    config = resolve("scratch", overrides={"data.path": "digits", "model.name": "mae_digits"})
    with pytest.raises(ConfigError, match="choose --task masked_image"):
        train(config)


def test_recipes_of_pretraining() -> None:
    assert resolve(overrides={"task": "masked_image"}).recipe == "mae_digits"
    assert resolve(overrides={"task": "masked_image", "data.path": "photos"}).recipe == "mae"
    assert resolve("mae").task == "masked_image"
