"""Costs by image size against the formulas of a ViT."""

import json
from pathlib import Path

import pytest
import torch

from saccade.analysis.cost_by_size import cost_by_size
from saccade.cli.main import main
from saccade.errors import ConfigError
from tests.analysis.test_attention_distance import save
from tests.analysis.test_points import created


def test_attention_grows_with_the_square_of_the_tokens() -> None:
    """Of every block 2 N² D; everything else that a block multiplies is N D (4 D + 2 M)."""
    predictor = created("vit_digits", "classification")
    cost = cost_by_size(predictor, [(8, 8), (16, 8), (32, 32)], timed=False)
    depth, width, hidden = 4, 64, 128
    for one, patches in zip(cost.sizes, (16, 32, 256)):
        n = patches + 1
        assert one.tokens == n
        assert one.attention_gmacs * 1e9 == pytest.approx(depth * 2 * n**2 * width)
        blocks = depth * n * width * (4 * width + 2 * hidden)
        assert one.gmacs * 1e9 == pytest.approx(
            depth * 2 * n**2 * width + blocks + patches * width * 4 + width * 10
        )  # patch embedding and head
        assert one.milliseconds is None
    assert cost.params == sum(p.numel() for p in predictor.model.parameters())


@pytest.mark.parametrize(("name", "task"), [("detr_small", "detection"), ("lenet", "classification")])
def test_other_families(name: str, task: str) -> None:
    predictor = created(name, task)
    training = predictor.model.training
    cost = cost_by_size(predictor, [predictor.model.config.image_size])
    assert cost.sizes[0].milliseconds > 0
    assert (cost.sizes[0].attention_gmacs > 0) == (name == "detr_small")
    assert predictor.model.training == training
    assert all(p.grad is None for p in predictor.model.parameters())
    assert torch.is_grad_enabled()


def test_a_lenet_takes_one_size() -> None:
    cost = cost_by_size(created("lenet", "classification"), timed=False)
    assert [(one.height, one.width) for one in cost.sizes] == [(32, 32)]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = str(save(tmp_path, "vit_digits", 8, 1))
    assert main(["analyze", "cost", model, "--sizes", "8", "16", "-o", "out"]) == 0
    assert "16 x 16" in capsys.readouterr().out
    assert [row["tokens"] for row in json.loads(Path("out/cost.json").read_text())["sizes"]] == [17, 65]
    assert main(["analyze", "cost", model, "--sizes", "9"]) == 2
    assert "9 x 9" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="reads images"):
        cost_by_size(created("vit_digits", "classification"), [8])


def test_of_a_text_the_length_counts() -> None:
    """A post-norm block of BERT has 2 N² D for attention and N D (4 D + 2 M) for the rest."""
    predictor = created_text()
    cost = cost_by_size(predictor, timed=False)
    assert [one.tokens for one in cost.sizes] == [16, 32, 48, 64]
    assert cost.own.tokens == 64
    for one in cost.sizes:
        assert one.tokens is not None
        assert one.attention_gmacs * 1e9 == pytest.approx(4 * 2 * one.tokens**2 * 128)
    rest = [one.gmacs - one.attention_gmacs for one in cost.sizes]
    assert rest[3] == pytest.approx(4 * rest[0] - 3 * 128**2 / 1e9)  # the pooler reads one token
    assert sum(part.macs for part in cost.parts) == pytest.approx(cost.own.gmacs * 1e9)
    assert "64 tokens" in str(cost)
    for size, message in ((65, "1 to 64 tokens"), ((8, 8), "number of tokens")):
        with pytest.raises(ConfigError, match=message):
            cost_by_size(predictor, [size])


def created_text():
    import saccade
    from saccade.checkpoints.directory import LoadedModel
    from saccade.tasks.loading import predictor_of

    return predictor_of(LoadedModel(saccade.create("bert_small"), "bert", (), None, task="masked_lm"))
