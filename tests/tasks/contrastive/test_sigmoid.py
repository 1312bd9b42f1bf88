"""The sigmoid loss of SigLIP: by hand, in chunks, in parts and processes, against open_clip; a run; zero-shot."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import saccade
from saccade.cli.main import main
from saccade.models.clip import CLIP
from saccade.tasks.contrastive.exported_zero_shot import ExportedZeroShot
from saccade.tasks.contrastive.losses import Embeddings, pair_losses
from saccade.tasks.contrastive.reading import TextReader
from saccade.tasks.contrastive.results import Embedding
from saccade.tasks.contrastive.task import ContrastiveTask
from saccade.tasks.contrastive.zero_shot import ZeroShot
from saccade.training.config import resolve
from saccade.training.run_directory import RunDirectory
from tests.engine.batch_cuts import Case, check_cuts
from tests.running import train
from tests.tasks.contrastive.test_contrastive_runs import TINY
from tests.tasks.contrastive.test_cuts import make_batch, make_model

ONE = torch.tensor(1.0)


def embeddings(count: int, seed: int = 0) -> Embeddings:
    generator = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(count, 5, generator=generator), dim=-1) for _ in range(2))
    return Embeddings(
        *(t.requires_grad_() for t in (image, text, torch.tensor(10.0), torch.tensor(-10.0)))  # scale, bias
    )


def test_two_pairs_by_hand() -> None:
    """Images and texts on the two axes: each image has one text with cosine 1 and one with cosine 0."""
    axes = torch.eye(2)
    loss, correct, chance = pair_losses(
        Embeddings(axes, axes, 3 * ONE, -ONE), torch.tensor([[1], [2]]), world=1, kind="sigmoid"
    )
    expected = math.log1p(math.exp(-(3 - 1))) + math.log1p(math.exp(-1))  # its own text, then the other
    torch.testing.assert_close(loss, torch.full((2, 1), expected))
    assert correct.tolist() == [[1], [1]]
    assert chance.tolist() == [[0.5], [0.5]]


def test_it_is_that_of_open_clip() -> None:
    loss = pytest.importorskip("open_clip.loss")
    own = embeddings(6)
    expected = loss.SigLipLoss()(own.image, own.text, own.scale, own.bias)
    losses = pair_losses(own, torch.arange(6)[:, None], world=1, kind="sigmoid")
    leaves = [leaf for leaf in own if leaf is not None]
    torch.testing.assert_close(losses.loss.sum() / 6, expected)
    for ours, theirs in zip(
        torch.autograd.grad(losses.loss.sum() / 6, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_chunks_change_nothing() -> None:
    """Values, metrics and gradients, also of a last chunk that is smaller, and with equal texts."""
    keys, results = torch.tensor([[1, 1], [2, 2], [1, 3], [4, 4], [5, 5]]), []
    for chunk in (100, 2):
        own = embeddings(5)
        own = own._replace(text=torch.cat((own.text, own.text)))
        losses = pair_losses(own, keys, world=1, kind="sigmoid", chunk=chunk)
        results.append((*losses, *torch.autograd.grad(losses.loss.sum(), [leaf for leaf in own if leaf is not None])))
    for whole, cut in zip(*results, strict=True):
        torch.testing.assert_close(cut, whole)


def sigmoid_case() -> Case:
    model = make_model()
    model.logit_bias = nn.Parameter(torch.tensor(-3.0))
    return Case(model, ContrastiveTask("sigmoid"), make_batch(3))


def test_parts_and_processes_have_the_loss_of_the_whole_batch(tmp_path: Path) -> None:
    check_cuts(sigmoid_case, tmp_path, in_two_processes=(2,))


def test_a_run_learns_its_bias_and_gives_independent_probabilities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model of SigLIP's kind: attention pool, texts of fixed length, no class token; trained, opened, zero-shot."""
    tower = {"depth": 1, "class_token": False, "prefix_positions": 0, "pooling": "attention"}
    options = {"backbone_config": tower, "text": {"depth": 1, "pooling": "last", "causal": False}}
    options |= {"text_projection": "affine", "image_projection": False}
    changes = {"model.name": "clip_ti16", "model.options": options, "contrastive.loss": "sigmoid"}
    changes |= {"contrastive.context_length": 12, "schedule.epochs": 1}
    config = resolve(overrides={**TINY, **changes})
    run = train(config, RunDirectory.create(config, tmp_path / "run")).run
    predictor = saccade.load(run.path)
    net = predictor.model
    assert isinstance(net, CLIP)
    assert (net.config.objective, net.config.text.pooling, net.config.text.causal) == ("sigmoid", "last", False)
    assert net.logit_bias is not None
    assert 0 < abs(net.logit_bias.item() + 10) < 0.1
    photograph = tmp_path / "a.png"
    Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(photograph)
    classifier = ZeroShot(predictor, ("cat", "dog"))
    scores = classifier.scores(predictor.prepare(photograph)[None])
    assert scores.sum() < 0.5  # of fresh logits near -10: no softmax
    logits = classifier.logits(net.encode_image(predictor.prepare(photograph)[None]))
    torch.testing.assert_close(scores, logits.sigmoid().detach())
    assert main(["zeroshot", str(run.path), str(photograph), "--labels", "cat,dog"]) == 0
    assert "each class on its own" in capsys.readouterr().out
    reader = TextReader(predictor)
    assert len(reader.names(reader.tokens("cat"))) == 12  # with the padding, which the text encoder attends to


class Decoder:
    """What is used of an exported file: its state, and vectors of texts on the two axes."""

    def __init__(self, **state: float):
        self.task = SimpleNamespace(state=state)

    def embed_texts(self, texts: list[str]) -> np.ndarray:
        return np.eye(2)[[int("dog" in text) for text in texts]]


def test_an_exported_file_has_independent_probabilities() -> None:
    classifier = ExportedZeroShot(Decoder(scale=3.0, bias=-1.0), ("cat", "dog"))  # type: ignore[arg-type]
    (result,) = classifier.stream([Embedding("a.png", np.array([1.0, 0.0]))])
    assert classifier.independent
    assert dict(result.top) == pytest.approx({"cat": 1 / (1 + math.exp(-2)), "dog": 1 / (1 + math.exp(1))})


def test_without_a_bias_the_probabilities_of_an_exported_file_add_up_to_1() -> None:
    """Of the mean of two templates, one of which is a dog for every class, the direction counts."""
    image = Embedding("a.png", np.array([0.0, 1.0]))
    classifier = ExportedZeroShot(Decoder(scale=3.0), ("cat", "dog"), ("a {}", "a {} and a dog"))  # type: ignore[arg-type]
    (result,) = classifier.stream([image])
    cat = 1 / (1 + math.exp(3 - 3 / math.sqrt(2)))
    assert not classifier.independent
    assert (result.label, result.score) == ("dog", pytest.approx(1 - cat))
    assert dict(result.top) == pytest.approx({"cat": cat, "dog": 1 - cat})
    (large,) = ExportedZeroShot(Decoder(scale=1000.0), ("cat", "dog")).stream([image])  # type: ignore[arg-type]
    assert large.top == (("dog", 1.0), ("cat", 0.0))
