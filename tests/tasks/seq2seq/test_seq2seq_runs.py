"""Runs of sequence to sequence: trained on texts and on images, resumed, measured, drawn, and on the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.pairs import has_captions
from saccade.engine.evaluation import evaluate
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError
from saccade.models.image_to_text import ImageToText
from saccade.models.vit import VisionTransformer
from saccade.runs import write_task_report
from saccade.tasks.seq2seq.alignment import align
from saccade.tasks.seq2seq.report import alignment_figure
from saccade.tasks.seq2seq.room import ROOM
from saccade.tasks.seq2seq.setup import make_setup
from saccade.tasks.seq2seq.translate import translate
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.running import train

pytest.importorskip("tokenizers")

TRANSLATE = {
    "task": "seq2seq", "data.path": "numbers", "data.workers": 0, "preflight": False, "batch_size": 16,
    "data.numbers": {"limit": 100, "train": 64, "val": 16, "test": 20},
    "schedule.epochs": 40, "optimizer.lr": 1e-3,
}  # fmt: skip
STRIPS = {
    "task": "seq2seq", "data.path": "strips", "data.workers": 0, "preflight": False, "batch_size": 8,
    "data.strips": {"train": 16, "val": 4, "test": 6}, "schedule.epochs": 1,
}  # fmt: skip


def trained(values: dict, folder: Path) -> RunDirectory:
    return train(resolve(overrides=values), output=folder).run


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(TRANSLATE, tmp_path_factory.mktemp("runs") / "numbers")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(STRIPS, tmp_path_factory.mktemp("runs") / "strips")


def test_training_pairs_are_memorized(translator: RunDirectory) -> None:
    rows = translator.metrics()
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert {"val_exact", "val_BLEU", "val_chrF", "token accuracy"} <= rows[-1].keys()
    predictor = saccade.load(translator.path)
    config = translator.config()
    train_split = ROOM.open_data("numbers", config.data, predictor.source).train
    pairs = [train_split.pair(i) for i in range(len(train_split))]  # type: ignore[attr-defined]
    texts = predictor.predict([pair.source for pair in pairs])
    assert sum(text.text == pair.target for text, pair in zip(texts, pairs)) / len(pairs) > 0.8
    beams = translate(predictor, [pairs[0].source], num_beams=3)
    assert beams[0].name == pairs[0].source
    assert predictor.task.num_beams == 1  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="has no option top"):
        predictor.with_options({"top": 3})
    with pytest.raises(ConfigError, match="reads texts"):
        predictor.predict(torch.zeros(1, 8, 8))


def test_a_run_is_measured_again_and_documented(translator: RunDirectory) -> None:
    stored = json.loads((translator.path / "predictions.json").read_text())
    again = evaluate(saccade.load(translator.path), "numbers", workers=0)
    assert again.split == "test"
    assert again.metrics.to_dict() == pytest.approx(stored["metrics"], abs=1e-5)
    assert {"image", "text", "truth"} == set(stored["predictions"][0])
    page = write_task_report(translator).read_text()
    assert "Alignment" in page
    assert "exact match" in page
    card = (translator.model / "README.md").read_text()
    assert "texts over a vocabulary" in card
    assert (translator.model / "tokenizer.json").is_file()


def test_a_resumed_run_has_the_same_weights(tmp_path: Path) -> None:
    small = {"encoder_depth": 1, "decoder_depth": 1, "block.embed_dim": 32, "block.mlp_dim": 64}
    values = {**TRANSLATE, "schedule.epochs": 2, "checkpoint_seconds": 0.0, "model.options": small}
    whole = trained(values, tmp_path / "whole")
    part = trained(values, tmp_path / "part")
    for path in part.steps()[1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    train(part.config(), part, resume=True)
    one, other = (saccade.load(run.path).model.state_dict() for run in (whole, part))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_alignment_is_that_of_the_generated_text(translator: RunDirectory) -> None:
    predictor = saccade.load(translator.path)
    alignment = align(predictor, "forty-two")
    (text,) = translate(predictor, ["forty-two"])
    assert " ".join(alignment.tokens[:-1]) == text.text
    assert alignment.source == ("forty-two", "[SEP]")
    assert alignment.weights.shape == (len(alignment.tokens), 2)
    assert alignment.weights.sum(1) == pytest.approx(1.0)
    assert alignment.layer == "decoder.1.cross_attn"
    with pytest.raises(ConfigError, match="the decoder has 2"):
        align(predictor, "one", layer=2)
    assert alignment_figure([alignment, align(predictor, "one", layer=0)]).axes


def test_texts_on_the_command_line(
    translator: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    picture, path = tmp_path / "drawn.png", str(translator.path)
    assert main(["translate", path, str(tmp_path / "a.txt"), "--json", "--draw", str(picture)]) == 0
    texts = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in texts] == ["one", "two"]
    assert picture.stat().st_size > 1000
    assert main(["predict", path, "one", "two", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == texts
    assert main(["predict", path, "one", "--csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["source,text", f"one,{texts[0]['text']}"]
    assert main(["explain", path, "one", "-o", str(tmp_path / "looks.png")]) == 0
    assert main(["translate", path, "one", "--draw", "drawn.txt"]) == 2
    assert main(["translate", path, " "]) == 2
    assert main(["predict", path, "one", "--draw", str(tmp_path)]) == 2
    assert main(["predict", path, "one", "--top", "3"]) == 2
    assert main(["fill", path, "[MASK]"]) == 2
    assert "this model predicts no masked tokens: it is a seq2seq for seq2seq" in capsys.readouterr().err
    assert main(["evaluate", path, "numbers"]) == 0
    assert "exact match" in capsys.readouterr().out


def test_the_check_finds_repeated_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pairs.tsv").write_text("".join(f"s{i}\tt{i}\n" for i in range(20)) + "s1\tt1\n")
    assert main(["data", "check", str(tmp_path / "pairs.tsv"), "--task", "seq2seq"]) == 0
    assert "are duplicates: train:pairs.tsv:2" in capsys.readouterr().out
    (tmp_path / "captions.csv").write_text("image,caption\n1.png,one\n")
    (tmp_path / "captions.jsonl").write_text('{"file": "1.png", "text": "one"}\n')
    assert not has_captions(str(tmp_path / "pairs.tsv"))
    assert has_captions(str(tmp_path / "captions.csv"))
    assert has_captions(str(tmp_path / "captions.jsonl"))
    assert main(["data", "check", str(tmp_path / "captions.csv"), "--task", "seq2seq"]) == 1
    assert "there is no 1.png" in capsys.readouterr().err


def test_strips_are_read(reader: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = saccade.load(reader.path)
    splits = ROOM.open_data("strips", reader.config().data, predictor.source)
    strip = splits.test.image(0)  # type: ignore[union-attr, attr-defined]
    alignment = align(predictor, strip)
    assert alignment.image is not None
    assert alignment.image.shape == (12, 56, 3)
    assert alignment.grid == (3, 14)
    assert alignment.weights.shape == (len(alignment.tokens), 42)
    assert "Alignment" in write_task_report(reader).read_text()
    path = str(tmp_path / "strip.png")
    strip.save(path)
    assert main(["translate", str(reader.path), path]) == 0
    assert path in capsys.readouterr().out
    assert main(["predict", str(reader.path), path, "--draw", str(tmp_path / "drawn")]) == 0
    assert (tmp_path / "drawn/strip.png").stat().st_size > 1000
    assert main(["explain", str(reader.path), path, "-o", str(tmp_path / "looks.png")]) == 0
    assert (tmp_path / "looks.png").stat().st_size > 1000
    assert evaluate(predictor, "strips", workers=0).metrics.count == 6


def test_a_trained_vit_becomes_the_encoder(tmp_path: Path) -> None:
    config = resolve(overrides=STRIPS)
    vit = saccade.create("vit_digits", image_size=(12, 56), num_classes=0)
    assert isinstance(vit, VisionTransformer)
    save_model_dir(tmp_path / "vit", LoadedModel(vit, "vit", (), fresh_preprocessing(vit)))
    config = replace(config, model=replace(config.model, init=str(tmp_path / "vit")))
    start = make_setup(config, torch.device("cpu")).start
    assert isinstance(start.model, ImageToText)
    for name, tensor in vit.state_dict().items():
        assert torch.equal(start.model.backbone.state_dict()[name], tensor)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.name": "vit_ti16", "data.path": "strips", "recipe": "strips"}, "is not an encoder-decoder model"),
        ({"augmentation.mixup": 0.2}, "a mixed image has no caption"),
        ({"seq2seq.label_smoothing": 1.0}, "seq2seq.label_smoothing"),
    ],
)
def test_impossible_runs_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trained({**TRANSLATE, **changes}, tmp_path / "run")
