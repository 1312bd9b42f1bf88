"""Contrastive runs: training, resume, two processes, accumulation, evaluation, zero-shot classification, search."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.checkpoints.directory import LoadedModel, save_model_dir
from saccade.cli.main import main
from saccade.data.builtin.scenes import SceneSource
from saccade.data.config import ScenesConfig
from saccade.data.pairs import open_pairs
from saccade.engine.evaluation import evaluate
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError
from saccade.models.vit import VisionTransformer
from saccade.tasks.contrastive.results import Embedding
from saccade.tasks.contrastive.search import SearchIndex
from saccade.tasks.contrastive.setup import starting_model
from saccade.tasks.contrastive.zero_shot import evaluate_zero_shot
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.engine.batch_cuts import start_as_torchrun
from tests.running import train

pytest.importorskip("tokenizers")

TINY = {
    "task": "contrastive", "data.path": "scenes", "data.workers": 0, "preflight": False, "batch_size": 8,
    "data.scenes": {"size": [32, 32], "digits": [1, 2], "scale": [0.4, 0.8], "train": 48, "val": 8, "test": 12},
    "model.image_size": [32, 32],
    "model.options": {"backbone_config.width": 8, "text.depth": 1, "embed_dim": 16},
    "contrastive.vocab_size": 560, "contrastive.texts": 1, "data.scenes.plain_captions": False,
}  # fmt: skip

# Of clip_ti16.
ONE_BLOCK = {
    "backbone_config.depth": 1, "embed_dim": 16,
    "text.depth": 1, "text.block.embed_dim": 32, "text.block.num_heads": 2, "text.block.mlp_dim": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    config = resolve(overrides={**TINY, "schedule.epochs": 2})
    return train(config, RunDirectory.create(config, tmp_path_factory.mktemp("runs") / "clip")).run


def test_what_a_run_writes(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    row = run.metrics()[-1]
    assert {"loss", "R@1", "chance", "val_R@1", "val_R@10", "val_chance", "val_alike"} <= row.keys()
    assert row["chance"] == pytest.approx(1 / 8)
    assert {"vocab.json", "merges.txt"} <= {path.name for path in run.model.iterdir()}
    stored = json.loads((run.path / "predictions.json").read_text())
    loaded = saccade.load(run.path)
    assert loaded.task.name == "contrastive"
    again = evaluate(loaded, "scenes")
    assert again.split == "test"
    assert again.metrics.to_dict() == {**stored["metrics"], **{
        name: tuple(stored["metrics"][name]) for name in ("image_to_text", "text_to_image", "ranks")
    }, "alike": pytest.approx(stored["metrics"]["alike"], abs=1e-5)}  # fmt: skip
    assert main(["evaluate", str(run.path), "scenes"]) == 0
    assert "by chance 8.3%" in capsys.readouterr().out


def test_a_killed_run_goes_on_to_the_same_bits(run: RunDirectory, tmp_path: Path) -> None:
    config = resolve(overrides={**TINY, "schedule.epochs": 2, "checkpoint_seconds": 0.0})
    part = RunDirectory.create(config, tmp_path / "part")
    seen = 0

    def stop(event) -> None:
        nonlocal seen
        seen += type(event).__name__ == "StepDone"
        if seen == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, part, on_event=stop)
    train(part.config(), part, resume=True)
    ours, theirs = (saccade.load(r.path).model.state_dict() for r in (run, part))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def run_command(arguments: list[str]) -> None:
    assert main(arguments) == 0


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    """Through the command line: gathered negatives, one vocabulary. With a ViT: batch norm sees the share of its
    process."""
    values = {**TINY, "model.name": "clip_ti16", "model.options": ONE_BLOCK}
    settings = [f"--set={key}={json.dumps(value)}" for key, value in values.items() if key not in ("task", "data.path")]
    command = ["train", "scenes", "--task", "contrastive", "--steps", "4", *settings]
    run_command([*command, "--output", str(tmp_path / "one")])
    start_as_torchrun(run_command, [*command, "--output", str(tmp_path / "two")])
    one, two = (RunDirectory.existing(tmp_path / name).metrics()[-1] for name in ("one", "two"))
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert two["chance"] == one["chance"]


def test_a_batch_in_parts_learns_what_a_whole_one_does(tmp_path: Path) -> None:
    """With a ViT: batch norm sees its own part."""
    changes = {"model.name": "clip_ti16", "model.options": ONE_BLOCK, "schedule.steps": 3}
    rows = []
    for parts in (1, 2):
        config = resolve(overrides={**TINY, **changes, "accumulation": parts})
        rows.append(train(config, RunDirectory.create(config, tmp_path / str(parts))).run.metrics()[-1])
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], rel=1e-5)
    assert rows[1]["chance"] == rows[0]["chance"]
    assert rows[1]["R@1"] == rows[0]["R@1"]


def test_an_image_is_predicted_as_its_embedding(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image.png"
    SceneSource("test", 1, ScenesConfig(size=(32, 32))).image(0).save(image)
    predictor = saccade.load(run.path)
    result = predictor.predict(image)
    assert isinstance(result, Embedding)
    vector = torch.nn.functional.normalize(predictor.model.embed(predictor.prepare(image)[None]), dim=-1)
    torch.testing.assert_close(torch.from_numpy(result.vector), vector[0].detach(), atol=1e-5, rtol=1e-4)
    assert main(["predict", str(run.path), str(image), "--json", "--draw", str(tmp_path / "drawn")]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["vector"] == pytest.approx(result.vector.tolist(), abs=1e-6)
    assert np.load(tmp_path / "drawn" / "image-embedding.npy").shape == (16,)
    assert (tmp_path / "drawn" / "image.png").is_file()
    assert main(["predict", str(run.path), str(image)]) == 0
    assert "embedding of 16 values" in capsys.readouterr().out


def test_a_trained_tower_is_taken(run: RunDirectory, tmp_path: Path) -> None:
    torch.manual_seed(3)
    net = saccade.create("vit_ti16", num_classes=3, image_size=(32, 32), options={"depth": 2})
    save_model_dir(tmp_path / "vit", LoadedModel(net.eval(), "vit", ("a", "b", "c"), fresh_preprocessing(net)))
    config = resolve(overrides={
        **TINY, "model.name": "clip_ti16", "model.init": str(tmp_path / "vit"), "model.options": {"text.depth": 1},
    })  # fmt: skip
    source = open_pairs("scenes", config.data).train
    start, _ = starting_model(config, source)
    tower = start.model.get_submodule("backbone")
    assert isinstance(tower, VisionTransformer)
    weight = "encoder.blocks.1.attn.qkv.weight"
    assert torch.equal(tower.get_parameter(weight), net.get_parameter(weight))
    again = resolve(overrides={**TINY, "model.init": str(run.path), "model.options": {}})
    goes_on, tokenizer = starting_model(again, source)
    trained = saccade.load(run.path).model
    assert torch.equal(goes_on.model.get_parameter("logit_scale"), trained.get_parameter("logit_scale"))
    assert tokenizer.files() == goes_on.vocabulary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contrastive.texts": 0}, "at least 1"),
        ({"augmentation.mixup": 0.5}, "no text describes"),
        ({"model.name": "vit_ti16", "model.options": {}}, "no text encoder"),
    ],
)
def test_refusals(change: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(resolve(overrides={**TINY, **change}), output=tmp_path / "no")


def test_zero_shot_is_measured(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded = saccade.load(run.path)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    counts: list[int] = []
    templates = ["a small red {}", "a large blue {}"]
    result = evaluate_zero_shot(loaded, "scenes", names, templates, on_images=counts.append)
    assert counts == sorted(counts)
    assert counts[-1] == 12
    assert result.split == "test"
    assert result.single.images == result.ensemble.images == 12
    assert result.single.nll != result.ensemble.nll
    with pytest.raises(ConfigError, match="10 classes"):
        evaluate_zero_shot(loaded, "scenes", names[:3])
    assert main(["zeroshot", str(run.path), "scenes", "--evaluate", "--labels", "digits", "--templates", "scenes"]) == 0
    output = capsys.readouterr().out
    assert "single prompt 'a small red {}'" in output
    assert "ensemble of 18" in output


def test_search(run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = SceneSource("test", 6, ScenesConfig(size=(32, 32)))
    for index in range(6):
        (tmp_path / "images").mkdir(exist_ok=True)
        source.image(index).save(tmp_path / "images" / f"{index}.png")
    loaded = saccade.load(run.path)
    cache = tmp_path / "cache"
    index = SearchIndex(loaded, str(tmp_path / "images"), cache=cache)
    assert not index.cached
    assert SearchIndex(loaded, str(tmp_path / "images"), cache=cache).cached
    hit, *others = index.by_image(tmp_path / "images" / "3.png", top=9)
    assert not loaded.model.training
    assert hit.image == "3.png"
    assert hit.score == pytest.approx(1.0, abs=1e-4)
    assert len(others) == 5
    assert [h.score for h in others] == sorted((h.score for h in others), reverse=True)
    sheet = tmp_path / "found.png"
    words = ["search", str(run.path), str(tmp_path / "images"), "a red three", "--cache", str(cache)]
    assert main([*words, "--top", "2", "--draw", str(sheet), "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [h["image"] for h in hits] == [h.image for h in index.by_text("a red three", 2)]
    assert Image.open(sheet).width > 100
    assert main([*words[:3], str(tmp_path / "no.png")]) == 2
    pytest.importorskip("faiss")
    graph = SearchIndex(loaded, str(tmp_path / "images"), cache=cache, approximate=True)
    assert [h.image for h in graph.by_text("a red three")] == [h.image for h in index.by_text("a red three")]
