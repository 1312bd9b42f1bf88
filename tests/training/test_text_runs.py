"""Runs on texts: translation, strips of digits, hidden words: trained, gone on with, measured, drawn and asked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from saccade.cli.report_data import write_run_report
from saccade.inference.evaluation import evaluate
from saccade.training.jobs.images import fresh_preprocessing
from saccade.training.setup import open_splits

import saccade
from saccade.analysis.alignment import align
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.errors import ConfigError
from saccade.inference.writing import fill, translate
from saccade.models.image_to_text import ImageToText
from saccade.models.vit import VisionTransformer
from saccade.reporting.texts import alignment_figure
from saccade.training.config import resolve
from saccade.training.jobs.translate import starting_model
from saccade.training.run_directory import RunDirectory
from saccade.training.schedules import lr_share
from tests.running import train

pytest.importorskip("tokenizers")

NUMBERS = {
    "data.path": "numbers", "data.workers": 0, "preflight": False, "batch_size": 16, "checkpoint_seconds": 0.0,
    "data.numbers": {"limit": 100, "train": 64, "val": 16, "test": 20},
}  # fmt: skip
TRANSLATE = {**NUMBERS, "task": "translate", "schedule.epochs": 40, "optimizer.lr": 1e-3}
WORDS = {**NUMBERS, "task": "words", "schedule.epochs": 3, "data.numbers.limit": 1000}
STRIPS = {
    "task": "translate", "data.path": "strips", "data.workers": 0, "preflight": False, "batch_size": 8,
    "data.strips": {"train": 16, "val": 4, "test": 6}, "schedule.epochs": 1,
}  # fmt: skip


def trained(values: dict, folder: Path) -> RunDirectory:
    config = resolve(overrides=values)
    return train(config, RunDirectory.create(config, folder)).run


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(TRANSLATE, tmp_path_factory.mktemp("runs") / "numbers")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(STRIPS, tmp_path_factory.mktemp("runs") / "strips")


@pytest.fixture(scope="module")
def filler(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(WORDS, tmp_path_factory.mktemp("runs") / "words")


def test_it_learns_its_own_pairs_by_heart(translator: RunDirectory) -> None:
    rows = translator.metrics()
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert {"val_exact", "val_BLEU", "val_chrF", "word accuracy"} <= rows[-1].keys()
    predictor = saccade.load(translator.path)
    splits = open_splits(translator.config())
    pairs = [splits.train.pair(i) for i in range(len(splits.train))]  # type: ignore[attr-defined]
    said = translate(predictor, [pair.source for pair in pairs])
    assert sum(one.text == pair.target for one, pair in zip(said, pairs)) / len(pairs) > 0.8
    beams = translate(predictor, [pairs[0].source], beams=3)
    assert beams[0].image == pairs[0].source


def test_a_text_run_is_measured_again_and_written_down(translator: RunDirectory) -> None:
    told = json.loads((translator.path / "predictions.json").read_text())
    again = evaluate(saccade.load(translator.path), "numbers", workers=0)
    assert again.split == "test"
    assert again.metrics.to_dict() == pytest.approx(told["metrics"], abs=1e-5)
    assert {"image", "text", "truth"} == set(told["predictions"][0])
    page = write_run_report(translator).read_text()
    assert "Where the words looked" in page
    assert "exact match" in page
    card = (translator.model / "README.md").read_text()
    assert "texts in" in card
    assert (translator.model / "tokenizer.json").is_file()


def test_a_stopped_text_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    values = {**TRANSLATE, "schedule.epochs": 2}
    whole = trained(values, tmp_path / "whole")
    part = trained(values, tmp_path / "part")
    for path in part.steps()[1:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    train(part.config(), part, resume=True)
    one, other = (saccade.load(run.path).model.state_dict() for run in (whole, part))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_alignment_is_that_of_what_was_written(translator: RunDirectory) -> None:
    predictor = saccade.load(translator.path)
    found = align(predictor, "forty-two")
    (said,) = translate(predictor, ["forty-two"])
    assert " ".join(found.written[:-1]) == said.text
    assert found.source == ("forty-two", "[SEP]")
    assert found.weights.shape == (len(found.written), 2)
    assert found.weights.sum(1) == pytest.approx(1.0)
    assert found.layer == "decoder.1.cross_attn"
    with pytest.raises(ConfigError, match="the decoder has 2"):
        align(predictor, "one", layer=2)
    assert alignment_figure([found, align(predictor, "one", layer=0)]).axes


def test_the_command_line_translates(
    translator: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    drawn = tmp_path / "drawn.png"
    assert main(["translate", str(translator.path), str(tmp_path / "a.txt"), "--json", "--draw", str(drawn)]) == 0
    assert [row["source"] for row in json.loads(capsys.readouterr().out)] == ["one", "two"]
    assert drawn.stat().st_size > 1000
    assert main(["translate", str(translator.path), "one", "--draw", "drawn.txt"]) == 2
    assert main(["translate", str(translator.path), " "]) == 2
    assert main(["predict", str(translator.path), "one.png"]) in (1, 2)
    assert main(["fill", str(translator.path), "[MASK]"]) == 2
    (tmp_path / "pairs.tsv").write_text("".join(f"s{i}\tt{i}\n" for i in range(20)) + "s1\tt1\n")
    assert main(["data", "check", str(tmp_path / "pairs.tsv"), "--task", "translate"]) == 0
    assert "are there twice: train:pairs.tsv:2" in capsys.readouterr().out
    assert main(["evaluate", str(translator.path), "numbers"]) == 0
    assert "exact match" in capsys.readouterr().out


def test_strips_are_read(reader: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = saccade.load(reader.path)
    splits = open_splits(reader.config())
    strip = splits.test.image(0)  # type: ignore[union-attr, attr-defined]
    found = align(predictor, strip)
    assert found.image is not None
    assert found.image.shape == (12, 56, 3)
    assert found.grid == (3, 14)
    assert found.weights.shape == (len(found.written), 42)
    assert "Where the words looked" in write_run_report(reader).read_text()
    strip.save(tmp_path / "strip.png")
    assert main(["translate", str(reader.path), str(tmp_path / "strip.png")]) == 0
    assert str(tmp_path / "strip.png") in capsys.readouterr().out
    assert main(["explain", str(reader.path), str(tmp_path / "strip.png"), "-o", str(tmp_path / "looks.png")]) == 0
    assert (tmp_path / "looks.png").stat().st_size > 1000
    assert evaluate(predictor, "strips", workers=0).metrics.images == 6


def test_a_reader_starts_on_a_trained_vit(tmp_path: Path) -> None:
    config = resolve(overrides=STRIPS)
    vit = saccade.create("vit_digits", image_size=(12, 56), num_classes=0)
    assert isinstance(vit, VisionTransformer)
    save_model_dir(tmp_path / "vit", LoadedModel(vit, "vit", (), fresh_preprocessing(vit)))
    wanted = replace(config, model=replace(config.model, init=str(tmp_path / "vit")))
    start, _ = starting_model(wanted, open_splits(config))
    assert isinstance(start.model, ImageToText)
    for name, tensor in vit.state_dict().items():
        assert torch.equal(start.model.backbone.state_dict()[name], tensor)


def test_hidden_words_are_learned_and_filled(filler: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    rows = filler.metrics()
    assert {"val_loss", "val_accuracy", "accuracy"} <= rows[-1].keys()
    predictor = saccade.load(filler.path)
    told = json.loads((filler.path / "predictions.json").read_text())["metrics"]
    assert evaluate(predictor, "numbers", workers=0).metrics.to_dict() == pytest.approx(told, abs=1e-5)
    (one, other) = fill(predictor, "[MASK] hundred and [MASK]", top=3)
    assert (one.place, other.place) == (1, 4)
    assert len(one.words) == 3
    assert one.words[0][1] >= one.words[1][1]
    with pytest.raises(ConfigError, match="nothing is hidden"):
        fill(predictor, "one")
    page = write_run_report(filler).read_text()
    assert "Hidden words" in page
    assert "best that can be, by the grammar" in page
    assert main(["fill", str(filler.path), "two [MASK]", "--top", "1"]) == 0
    assert main(["fill", str(filler.path), "two [MASK]", "--json"]) == 0
    assert '"words"' in capsys.readouterr().out


def test_pairs_of_sentences_and_bytes(tmp_path: Path) -> None:
    text = "\n\n".join("\n".join(f"{w} number {i} here" for i in range(8)) for w in ("one", "two", "three", "four"))
    (tmp_path / "a.txt").write_text(text)
    values = {
        "task": "words", "data.path": str(tmp_path / "a.txt"), "data.workers": 0, "preflight": False, "batch_size": 8,
        "schedule.epochs": 1, "data.val_fraction": 0.25, "data.test_fraction": 0.25,
    }  # fmt: skip
    run = trained({**values, "words.next_sentence": True}, tmp_path / "pairs")
    assert "val_next accuracy" in run.metrics()[-1]
    assert evaluate(saccade.load(run.path), str(tmp_path / "a.txt"), workers=0).metrics.follows is not None  # type: ignore[attr-defined]
    write_run_report(run)
    run = trained({**values, "model.name": "perceiver_text_small"}, tmp_path / "bytes")
    assert len(fill(saccade.load(run.path), "one n[MASK]mber")) == 1
    again = trained({**values, "model.init": str(run.path)}, tmp_path / "again")
    assert saccade.load(again.path).source.architecture == "perceiver_text"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.name": "vit_ti16", "data.path": "strips", "recipe": "strips"}, "writes no texts"),
        ({"task": "words", "model.name": "seq2seq_small"}, "reads no texts"),
        ({"task": "words", "words.next_sentence": True}, "no text that follows"),
        ({"task": "words", "words.share": 0.0}, "words.share"),
        ({"augmentation.mixup": 0.2}, "belongs to no text"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trained({**TRANSLATE, **changes}, tmp_path / "run")


def test_the_learning_rate_falls_with_the_root_of_the_steps() -> None:
    shares = [lr_share(step, 1000, 0.1, shape="inverse_sqrt") for step in range(1000)]
    assert max(shares) == shares[99] == 1.0
    assert shares[399] == pytest.approx(0.5)
    assert shares[49] == pytest.approx(0.5)
