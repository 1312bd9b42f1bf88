"""The predictor: the same answer for every way in which an image can come; evaluation on the right images."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.engine.evaluation import evaluate
from saccade.engine.predictor import Predictor
from saccade.engine.room import command
from saccade.errors import CheckpointError, ConfigError, DataError, ImageError
from saccade.tasks.dense.results import Depth
from saccade.tasks.loading import predictor_of
from saccade.training.run_directory import RunDirectory
from tests.photos import make_photos
from tests.running import train
from tests.training.test_loop import photos_config


def predictor() -> Predictor:
    torch.manual_seed(0)
    net = saccade.create("vit_ti16", num_classes=3, image_size=32, options={"depth": 1})
    preprocessing = Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    return predictor_of(LoadedModel(net, "vit", ("a", "b", "c"), preprocessing))


def test_paths_pictures_arrays_and_tensors_give_one_answer(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    model = predictor()
    model.preprocess = Preprocessing((32, 32), "exact", 1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    ways = [
        tmp_path / "x.png", str(tmp_path / "x.png"), (tmp_path / "x.png").read_bytes(), Image.fromarray(pixels),
        pixels, tensor, tensor.float() / 255,
    ]  # fmt: skip
    scores = [model.predict(way).score for way in ways]
    assert scores == pytest.approx([scores[0]] * len(ways), abs=1e-6)
    batch = model.predict(ways, batch_size=3)
    assert [p.score for p in batch] == pytest.approx(scores, abs=1e-6)
    assert len(model.predict(np.stack([pixels] * 4))) == 4
    assert len(model.predict(tensor[None])) == 1
    assert model.predict([]) == []
    assert model.task.name == "classification"
    assert model.labels == ("a", "b", "c")


def test_a_broken_image_stops_or_is_reported(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.new("RGB", (40, 40)).save(good)
    bad.write_bytes(b"x")
    model = predictor()
    with pytest.raises(ImageError, match=r"bad\.png"):
        model.predict([good, bad])
    seen: list = []
    found = list(model.stream([good, bad, good], on_error=lambda name, error: seen.append(name)))
    assert [p.name for p in found] == [str(good), str(good)]
    assert seen == [str(bad)]


def test_without_preprocessing_there_is_no_predictor() -> None:
    net = saccade.create("vit_digits")
    with pytest.raises(CheckpointError, match="how images are prepared"):
        predictor_of(LoadedModel(net, "vit", tuple("0123456789"), None))


def test_the_callers_precision_is_left_alone() -> None:
    before = torch.get_float32_matmul_precision()
    predictor().predict(np.zeros((32, 32, 3), np.uint8))
    assert torch.get_float32_matmul_precision() == before


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("evaluation")
    photos = make_photos(folder / "photos", count=20)
    config = photos_config(photos, **{"schedule.epochs": 3})
    train(config, RunDirectory.create(config, folder / "run"))
    return photos, folder / "run"


def test_evaluation_takes_the_split_that_was_held_out(trained) -> None:
    photos, run = trained
    found = evaluate(saccade.load(run), str(photos))
    assert found.split == "test"
    assert found.metrics.images == 8
    assert evaluate(saccade.load(run), str(photos), split="train").metrics.images == 28
    assert evaluate(saccade.load(run), str(photos), split="all").metrics.images == 40


def test_evaluation_on_other_data_takes_all_and_maps_classes_by_name(trained, tmp_path: Path) -> None:
    _, run = trained
    others = make_photos(tmp_path / "others", classes=("cat", "dog"), count=5)
    found = evaluate(saccade.load(run), str(others))
    assert found.split == "train"
    assert found.metrics.images == 10
    assert "was not trained on" in found.note
    strangers = make_photos(tmp_path / "strangers", classes=("cat", "fish"), count=3)
    with pytest.raises(DataError, match="fish"):
        evaluate(saccade.load(run), str(strangers))
    with pytest.raises(ConfigError, match="no split"):
        evaluate(saccade.load(run), str(others), split="holdout")
    with pytest.raises(DataError, match="no val split"):
        evaluate(saccade.load(run), str(others), split="val")


@pytest.mark.parametrize("size", [(48, 64), (300, 200)])
def test_the_same_pixels_are_resized_alike_however_they_come(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    model = predictor()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    right = model.prepare(Image.fromarray(pixels))
    for way in (pixels, tensor, tensor.float() / 255, pixels.astype(np.float64) / 255, pixels.astype(np.uint16) * 257):
        assert torch.equal(model.prepare(way), right)


def test_files_generators_and_calls(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), "red").save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    model = predictor()
    score = model(tmp_path / "x.png").score
    assert model(io.BytesIO(data)).score == score
    assert model(bytearray(data)).score == score
    with open(tmp_path / "x.png", "rb") as file:
        answer = model.predict(file)
    assert answer.score == score
    assert answer.name == str(tmp_path / "x.png")
    assert [r.score for r in model.predict(data for _ in range(3))] == pytest.approx([score] * 3)
    drawn: list[int] = []

    def endless():
        while True:
            drawn.append(1)
            yield data

    stream = model.stream(endless(), batch_size=2)
    next(stream)
    assert len(drawn) == 2
    with open(tmp_path / "x.png", encoding="latin-1") as text, pytest.raises(ImageError, match="'rb'"):
        model.predict(text)  # type: ignore[arg-type]
    for wrong in (7, None, {"image": data}):
        with pytest.raises(ConfigError, match="is no input"):
            model.predict(wrong)  # type: ignore[arg-type]


def test_predictions_are_in_evaluation_mode_and_leave_the_mode_alone() -> None:
    torch.manual_seed(0)
    net = saccade.create("vit_ti16", num_classes=3, image_size=32, options={"depth": 1, "block": {"dropout": 0.5}})
    preprocessing = Preprocessing((32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)
    model = predictor_of(LoadedModel(net, "vit", ("a", "b", "c"), preprocessing))
    image = np.full((32, 32, 3), 90, np.uint8)
    score = model.predict(image).score
    net.train()
    net.head.eval()
    assert [model.predict(image).score for _ in range(3)] == [score] * 3
    assert net.training
    assert not net.head.training


def test_devices() -> None:
    model = predictor()
    assert model.to("cpu") is model
    with pytest.raises(ConfigError, match="no device"):
        model.to("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="auto"):
            model.to("cuda")
        assert model.to("auto").device.type == "cpu"
    assert repr(model) == f"Predictor(vit, classification, 3 labels, on {model.device})"


def test_loading_leaves_the_random_state_alone(trained) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    saccade.load(trained[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_reprs_are_short() -> None:
    net = saccade.create("vit_ti16", num_classes=3, image_size=32)
    with saccade.record(net) as trace:
        net(torch.rand(1, 3, 32, 32))
    assert len(repr(trace)) < 1000
    assert "12 attentions" in repr(trace)
    assert len(repr(Depth("x", np.ones((99, 99), np.float32), "m"))) < 100


def test_commands_quote_paths_with_spaces() -> None:
    assert command("saccade", "evaluate", Path("my runs/a"), "d") == "saccade evaluate 'my runs/a' d"


def test_a_preprocessing_that_does_not_fit_the_model_is_one_line() -> None:
    model = saccade.create("vit_digits")
    source = LoadedModel(
        model, "vit", tuple("0123456789"), Preprocessing((9, 8), "exact", 1.0, channels=1, mean=(0.5,), std=(0.5,))
    )
    with pytest.raises(ConfigError, match=r"cannot read what its preprocessing makes of image 0: .*cannot be cut"):
        predictor_of(source).predict(np.zeros((12, 12), np.uint8))
