"""saccade.save, saccade.evaluate and saccade.explain: the same as the commands, for predictors and models in memory."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.cli.main import main
from saccade.data.own import OwnDataset
from saccade.data.preprocessing import Preprocessing
from saccade.engine.predictor import Predictor
from saccade.errors import CheckpointError, ConfigError, DataError, RecordingError
from saccade.tasks.loading import predictor_of
from tests.analysis.families import build
from tests.photos import make_photos

SIZE = (32, 32)
PREPROCESSING = Preprocessing(SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
LABELS = ("bird", "cat", "dog")


def network(num_classes: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return saccade.create(
        "vit_ti16", num_classes=num_classes, image_size=32, options={"depth": 1, "block.dropout": 0.5}
    )


@pytest.fixture
def predictor() -> Predictor:
    return predictor_of(LoadedModel(network(), "vit", LABELS, PREPROCESSING))


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def test_everything_is_at_the_top_level() -> None:
    for name in saccade.__all__:
        assert getattr(saccade, name) is not None
        assert name in dir(saccade)
    with pytest.raises(AttributeError, match=r"'saccade' has no attribute 'sav'; it has .*save"):
        saccade.sav  # noqa: B018


# -------------------------------------------------------------------------------------------------------------- save


def test_a_predictor_is_saved_and_opens_again(predictor: Predictor, tmp_path: Path) -> None:
    predictor.model.train()
    predictor.model.encoder.eval()
    expected = predictor.predict(picture(0)).to_dict()
    assert saccade.save(predictor, tmp_path / "a" / "model") == tmp_path / "a" / "model"
    assert (predictor.model.training, predictor.model.encoder.training) == (True, False)
    again = saccade.load(tmp_path / "a" / "model")
    assert again.predict(picture(0)).to_dict() == expected
    assert again.preprocess == predictor.preprocess
    with torch.no_grad():
        predictor.model.head.bias += torch.tensor([9.0, 0.0, 0.0])
    saccade.save(predictor, tmp_path / "a" / "model", labels=("x", "y", "z"))  # a model directory is replaced
    assert saccade.load(tmp_path / "a" / "model").predict(picture(0)).label == "x"


def test_a_model_alone_needs_its_labels_and_preprocessing(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "model"
    with pytest.raises(ConfigError, match=r"give preprocessing=Preprocessing\(\(32, 32\)"):
        saccade.save(model, path, labels=LABELS)
    with pytest.raises(ConfigError, match="give labels=… with 3 names"):
        saccade.save(model, path, preprocessing=PREPROCESSING)
    with pytest.raises(CheckpointError, match="2 labels for 3 classes"):
        saccade.save(model, path, labels=LABELS[:2], preprocessing=PREPROCESSING)
    assert not path.exists()
    saccade.save(model, path, labels=LABELS, preprocessing=PREPROCESSING)
    loaded = saccade.load(path)
    assert (loaded.task.name, loaded.labels) == ("classification", LABELS)
    images = torch.randn(2, 3, *SIZE)
    assert torch.equal(loaded.run(images), model.eval()(images).detach())


def test_a_model_alone_is_for_the_tasks_of_its_architecture(tmp_path: Path) -> None:
    detector = saccade.create("detr_small", num_classes=3)
    with pytest.raises(ConfigError, match="a DETR is for detection, not classification"):
        saccade.save(detector, tmp_path / "a", labels=LABELS, preprocessing=PREPROCESSING, task="classification")
    sized = Preprocessing((128, 128), mean=(0.5,) * 3, std=(0.5,) * 3)
    saccade.save(detector, tmp_path / "a", labels=LABELS, preprocessing=sized)
    assert saccade.load(tmp_path / "a").task.name == "detection"
    with pytest.raises(ConfigError, match="for depth or segmentation: give the task"):
        saccade.save(saccade.create("dpt_small"), tmp_path / "b", preprocessing=sized)
    saccade.save(network(), tmp_path / "b", labels=LABELS, preprocessing=PREPROCESSING, task="multilabel")
    assert saccade.load(tmp_path / "b").task.name == "multilabel"
    with pytest.raises(ConfigError, match="has no vocabulary: save the predictor"):
        saccade.save(saccade.create("bert_small"), tmp_path / "c")
    with pytest.raises(ConfigError, match="models of saccade, not a Linear"):
        saccade.save(torch.nn.Linear(2, 2), tmp_path / "c")  # type: ignore[arg-type]
    assert not (tmp_path / "c").exists()


def test_nothing_but_a_model_directory_is_replaced(predictor: Predictor, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", count=2)
    (tmp_path / "file").write_text("mine")
    for name in ("photos", "file"):
        with pytest.raises(ConfigError, match="already exists and is no model directory"):
            saccade.save(predictor, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "photos").rglob("*.png"))
    (tmp_path / "empty").mkdir()
    saccade.save(predictor, tmp_path / "empty")
    with pytest.raises(ConfigError, match="`task` is for a model alone"):
        saccade.save(predictor, tmp_path / "again", task="classification")


# ---------------------------------------------------------------------------------------------------------- evaluate


def test_evaluate_is_the_command(predictor: Predictor, tmp_path: Path, capsys) -> None:
    make_photos(tmp_path / "photos", count=12)
    names = sorted(entry.name for entry in (tmp_path / "photos").iterdir())
    predictor = predictor_of(LoadedModel(network(len(names)), "vit", tuple(names), PREPROCESSING))
    saccade.save(predictor, tmp_path / "model")
    result = saccade.evaluate(predictor, tmp_path / "photos", batch_size=5, workers=0)
    assert main(["evaluate", str(tmp_path / "model"), str(tmp_path / "photos"), "--json", "--workers", "0"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(json.dumps(result.metrics.to_dict())).items() <= printed.items()
    assert saccade.evaluate(str(tmp_path / "model"), str(tmp_path / "photos"), workers=0).metrics == result.metrics
    (tmp_path / "photos" / names[0]).rename(tmp_path / "photos" / "zebra")
    with pytest.raises(DataError, match="classes that the model does not have: zebra"):
        saccade.evaluate(predictor, tmp_path / "photos", workers=0)
    with pytest.raises(ConfigError, match="there is no split 'tset'"):
        saccade.evaluate(predictor, tmp_path / "photos", split="tset", workers=0)


def test_a_data_set_of_your_own(predictor: Predictor) -> None:
    images = [predictor.prepare(picture(seed)) for seed in range(7)]
    predicted = [LABELS.index(predictor.predict(picture(seed)).label) for seed in range(7)]
    targets = [*predicted[:5], *((label + 1) % 3 for label in predicted[5:])]
    seen = []
    predictor.model.train()
    result = saccade.evaluate(
        predictor, OwnDataset(list(zip(images, targets))), batch_size=3, on_inputs=lambda *done: seen.append(done)
    )
    assert predictor.model.training
    assert result.metrics.scalars()["accuracy"] == pytest.approx(5 / 7)
    assert (result.split, seen) == ("own data", [(3, 7), (6, 7), (7, 7)])
    with pytest.raises(ConfigError, match="no splits: leave out split='val'"):
        saccade.evaluate(predictor, OwnDataset(list(zip(images, targets))), split="val")


def test_what_is_no_predictor_is_named(predictor: Predictor) -> None:
    with pytest.raises(ConfigError, match="a VisionTransformer has no labels and no preprocessing: pass a predictor"):
        saccade.evaluate(predictor.model, "digits")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"use predictor\.to\(device\)"):
        saccade.evaluate(predictor, "digits", device="cpu")
    with pytest.raises(ConfigError, match="has no option max_depth"):
        saccade.evaluate(predictor, "digits", options={"max_depth": 10.0})


# ----------------------------------------------------------------------------------------------------------- explain


def test_explain_draws_one_row_an_image(predictor: Predictor, tmp_path: Path) -> None:
    picture(1).save(tmp_path / "one.png")
    predictor.model.train()
    one = saccade.explain(predictor, tmp_path / "one.png")
    label = predictor.predict(tmp_path / "one.png")
    assert one.lines == [f"{tmp_path / 'one.png'}: {label.label} {label.score:.1%}"]  # dropout is off
    assert predictor.model.training
    both = saccade.explain(predictor, [tmp_path / "one.png", picture(2)])
    assert len(both.lines) == 2
    assert both.figure.get_size_inches()[1] > one.figure.get_size_inches()[1]
    both.figure.savefig(tmp_path / "both.png")
    assert Image.open(tmp_path / "both.png").size[0] > 100


def test_explain_a_detector_without_attention() -> None:
    """One location of it has no attention: it has the Grad-CAM that `method` names."""
    yolo = build("yolo")
    default, named = (saccade.explain(yolo, picture(1), query=3, method=name) for name in (None, "grad-cam"))
    assert default.lines == named.lines
    assert "grad-cam" in default.lines[0]


def test_explain_a_point(predictor: Predictor) -> None:
    drawing = saccade.explain(predictor, picture(1), point=(0.5, 0.25))
    assert drawing.lines == ["image 0: 0.5, 0.25 in every layer"]
    assert len(drawing.figure.axes) == 2  # the image, one layer
    with pytest.raises(RecordingError, match="between 0 and 1"):
        saccade.explain(predictor, picture(1), point=(1.5, 0.0))
    with pytest.raises(ConfigError, match="there is no image to explain"):
        saccade.explain(predictor, [])
    with pytest.raises(RecordingError, match="1 B"):
        saccade.explain(predictor, picture(1), budget=1)


def test_the_citation_has_the_version() -> None:
    text = (Path(__file__).parents[1] / "CITATION.cff").read_text()
    assert f"\nversion: {saccade.__version__}\n" in text
