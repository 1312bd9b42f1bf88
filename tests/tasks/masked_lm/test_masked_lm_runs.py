"""Runs of masked language modelling: trained on words, on pairs of sentences and on bytes, measured, filled."""

import json
from pathlib import Path

import pytest

import saccade
from saccade.checkpoints.loading import load_model
from saccade.cli.main import main
from saccade.engine.evaluation import evaluate
from saccade.errors import ConfigError
from saccade.runs import write_task_report
from saccade.tasks.masked_lm.fill import fill
from saccade.tasks.masked_lm.room import training_options
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.golden.cases import RUNS
from tests.running import train

pytest.importorskip("tokenizers")

WORDS = {
    "task": "masked_lm", "data.path": "numbers", "data.workers": 0, "preflight": False, "batch_size": 16,
    "data.numbers": {"limit": 1000, "train": 64, "val": 16, "test": 20},
    "schedule.epochs": 3,
}  # fmt: skip


def trained(values: dict, folder: Path) -> RunDirectory:
    return train(resolve(overrides=values), output=folder).run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return trained(WORDS, tmp_path_factory.mktemp("runs") / "words")


def test_masked_tokens_are_learned_and_filled(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run.metrics()
    assert {"val_loss", "val_accuracy", "accuracy"} <= rows[-1].keys()
    predictor = saccade.load(run.path)
    metrics = json.loads((run.path / "predictions.json").read_text())["metrics"]
    assert evaluate(predictor, "numbers", workers=0).metrics.to_dict() == pytest.approx(metrics, abs=1e-5)
    text = "[MASK] hundred and [MASK]"
    (result,) = fill(predictor, [text], top=3)
    one, other = result.masks
    assert (one.position, other.position) == (1, 4)
    assert len(one.tokens) == 3
    assert one.tokens[0][1] >= one.tokens[1][1]
    assert predictor.predict(text).masks[0].tokens[:3] == one.tokens
    with pytest.raises(ConfigError, match=r"has no \[MASK\]"):
        fill(predictor, ["one"])
    with pytest.raises(ConfigError, match="reads at most 64"):
        fill(predictor, ["[MASK] " * 80])
    page = write_task_report(run).read_text()
    assert "Masked tokens" in page
    assert "Bayes-optimal accuracy" in page
    path = str(run.path)
    assert main(["fill", path, "two [MASK]", "--top", "1"]) == 0
    capsys.readouterr()
    assert main(["fill", path, "two [MASK]", "--json"]) == 0
    filled = json.loads(capsys.readouterr().out)
    assert set(filled[0]["masks"][0]) == {"position", "tokens"}
    assert main(["predict", path, "two [MASK]", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == filled
    assert main(["predict", path, "two [MASK]", "--top", "2", "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "text,position,rank,token,probability"
    assert main(["translate", path, "one"]) == 2
    assert "this model generates no texts: it is a bert for masked_lm" in capsys.readouterr().err
    picture = tmp_path / "words.png"
    assert main(["explain", path, "one two", "-o", str(picture)]) == 0
    assert picture.is_file()


def test_pairs_of_sentences_and_bytes(tmp_path: Path) -> None:
    text = "\n\n".join("\n".join(f"{w} number {i} here" for i in range(8)) for w in ("one", "two", "three", "four"))
    (tmp_path / "a.txt").write_text(text)
    values = {
        "task": "masked_lm", "data.path": str(tmp_path / "a.txt"), "data.workers": 0, "preflight": False,
        "batch_size": 8, "schedule.epochs": 1, "data.val_fraction": 0.25, "data.test_fraction": 0.25,
    }  # fmt: skip
    run = trained({**values, "masked_lm.next_sentence": True}, tmp_path / "pairs")
    assert "val_next-sentence accuracy" in run.metrics()[-1]
    metrics = evaluate(saccade.load(run.path), str(tmp_path / "a.txt"), workers=0).metrics
    assert metrics.follows is not None  # type: ignore[attr-defined]
    write_task_report(run)
    run = trained({**values, "model.name": "perceiver_text_small"}, tmp_path / "bytes")
    assert len(fill(saccade.load(run.path), ["one n[MASK]mber"])[0].masks) == 1
    again = trained({**values, "model.init": str(run.path)}, tmp_path / "again")
    assert saccade.load(again.path).source.architecture == "perceiver_text"


def test_the_masking_of_an_old_run_is_read() -> None:
    source = load_model(RUNS / "words")
    source.provenance["words"]["share"] = 0.25
    assert training_options(source).mask_ratio == 0.25
    source.provenance["options"] = {"mask_ratio": 0.5}
    assert training_options(source).mask_ratio == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.name": "seq2seq_small"}, "is not a masked language model"),
        ({"masked_lm.next_sentence": True}, "no text that follows"),
        ({"masked_lm.mask_ratio": 0.0}, "masked_lm.mask_ratio"),
        ({"masked_lm.mask_token": 0.8, "masked_lm.random_token": 0.3}, "must be at most 1, not 0.8 and 0.3"),
        ({"augmentation.mixup": 0.2}, "texts cannot be mixed"),
    ],
)
def test_impossible_runs_are_refused(changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        trained({**WORDS, **changes}, tmp_path / "run")
