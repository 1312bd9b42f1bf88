"""Models without some heads and blocks: the outputs of the large one under the same intervention."""

from pathlib import Path

import pytest
import torch

import saccade
from saccade.analysis.importance import Importance, Part
from saccade.analysis.pruning import least_important, prune
from saccade.cli.main import main
from saccade.engine.images import fresh_preprocessing
from saccade.errors import ConfigError, SaccadeError
from saccade.models.zoo import architecture_of

MODELS = {
    "vit_digits": "encoder.blocks", "conv_vit_digits": "blocks", "deit_ti16": "encoder.blocks",
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_outputs_equal_those_under_an_intervention(name: str) -> None:
    torch.manual_seed(0)
    model = saccade.create(name, **({"image_size": 32} if name == "deit_ti16" else {})).eval()
    depth, images = len(model.get_submodule(MODELS[name])), model.example_inputs(2)[0]
    heads = [[i % 2, 2] for i in range(depth)]
    smaller = prune(model, architecture_of(name), heads=heads, blocks=[1])
    off = {f"{MODELS[name]}.{i}.attn": part for i, part in enumerate(heads)}
    with torch.no_grad(), saccade.intervene(model, heads=off, blocks=[f"{MODELS[name]}.1"]):
        expected = model(images)
    with torch.no_grad():
        torch.testing.assert_close(smaller(images), expected, atol=1e-5, rtol=1e-5)
        with saccade.record(smaller, verify=True) as trace:
            smaller(images)
    assert len(trace.attention) == depth - 1
    assert max(trace.errors.values()) < 1e-5
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())


def test_what_cannot_be_taken_out() -> None:
    model = saccade.create("vit_digits")
    for options, message in (
        ({"blocks": [4]}, "they are 0 to 3"), ({"blocks": [0, 1, 2, 3]}, "one must stay"),
        ({"heads": [[0, 1, 2, 3]] * 4}, "one must stay"), ({"heads": [[0], [], [], []]}, "same number"),
        ({"heads": [[7]] * 4}, "heads are 0 to 3"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            prune(model, "vit", **options)
    with pytest.raises(ConfigError, match="no single stack"):
        prune(saccade.create("detr_small"), "detr", blocks=[0])


def test_the_least_important_parts_lose_least() -> None:
    parts = [Part("b.0.attn", head, 0.0, 0.0, 0.0, change) for head, change in enumerate((-0.3, -0.1, -0.2))]
    parts += [Part("b.1.attn", head, 0.0, 0.0, 0.0, change) for head, change in enumerate((0.1, -0.1, 0.2))]
    parts += [Part("b.0", None, 0.0, 0.0, 0.0, -0.5), Part("b.1", None, 0.0, 0.0, 0.0, -0.1)]
    importance = Importance("accuracy", 1.0, tuple(parts), 10)
    assert least_important(importance, 2, heads=2, blocks=1) == ([[1, 2], [0, 2]], [1])


def test_the_command_writes_a_model_that_opens(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, small = tmp_path / "run", tmp_path / "small"
    assert main(["train", "digits", "--epochs", "2", "--output", str(run)]) == 0
    assert main(["prune", str(run), "digits", "--heads", "1", "--blocks", "1", "--images", "60", "-o", str(small)]) == 0
    out = capsys.readouterr().out
    assert "heads removed by block" in out
    assert "accuracy" in out
    predictor = saccade.load(small)
    assert predictor.model.config.depth == 1
    assert predictor.model.config.block.num_heads == 3
    assert main(["evaluate", str(small), "digits"]) == 0
    assert main(["prune", str(run), "digits", "-o", str(small)]) == 2
    vit = saccade.create("vit_ti16", num_classes=2, image_size=32)
    pruned = prune(vit, "vit", heads=[[0]] * 12)
    preprocessing = fresh_preprocessing(pruned)
    directory = saccade.save(pruned, tmp_path / "vit", labels=("a", "b"), preprocessing=preprocessing)
    with pytest.raises(SaccadeError, match="value_dim"):
        saccade.convert(directory, tmp_path / "other", to="huggingface")
