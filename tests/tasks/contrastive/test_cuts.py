"""Contrastive learning: the loss does not depend on how a batch is cut, although each pair is compared with all."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import saccade
from saccade.data.samples import Batch
from saccade.engine.task import LossTerms
from saccade.models.clip import ClipOutput
from saccade.tasks.contrastive.task import ContrastiveTask, Embeddings, loss_terms, pair_losses, text_keys
from tests.engine.batch_cuts import Case, check_cuts

VOCABULARY, LENGTH = 40, 6


def make_batch(texts: int) -> Batch:
    """Eight images with so many captions each, some of which occur several times, within quarters and across them."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 16, 16, generator=generator)
    tokens = torch.randint(1, VOCABULARY - 1, (8, texts, LENGTH), generator=generator)
    tokens[..., -1] = VOCABULARY - 1
    tokens[1, 0] = tokens[0, 0]
    tokens[5, 0] = tokens[0, 0]
    tokens[7, -1] = tokens[2, -1]
    return Batch(images, {"tokens": tokens}, tuple("abcdefgh"), torch.arange(8))


def make_model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    block = {"embed_dim": 16, "num_heads": 2, "mlp_dim": 32}
    options = {"backbone_config.depth": 1, "text.depth": 1, "embed_dim": 16, "text.vocab_size": VOCABULARY,
               "text.context_length": LENGTH, "text.block.dropout": dropout}  # fmt: skip
    options |= {
        f"{tower}.block.{name}": value for tower in ("backbone_config", "text") for name, value in block.items()
    }
    return saccade.create("clip_ti16", image_size=16, options=options).train()


def one_caption() -> Case:
    return Case(make_model(), ContrastiveTask(), make_batch(1))


def three_captions() -> Case:
    return Case(make_model(), ContrastiveTask(), make_batch(3))


def test_one_caption(tmp_path: Path) -> None:
    check_cuts(one_caption, tmp_path, in_two_processes=(1, 2))


def test_several_captions_an_image(tmp_path: Path) -> None:
    check_cuts(three_captions, tmp_path, in_two_processes=(2,))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def backward_in_parts(model: nn.Module, task: ContrastiveTask, batch: Batch, parts: int) -> list[LossTerms]:
    counts = task.counts(model, batch)
    size = len(batch.names) // parts
    results = []
    for terms in task.train_parts(model, [batch.rows(slice(i, i + size)) for i in range(0, 8, size)], world=1):
        terms.value(counts).backward()
        results.append(terms)
    return results


def test_both_passes_over_a_part_draw_the_same_dropout() -> None:
    """The gradient in parts is the gradient through one graph of all parts with the dropout of each."""
    task, batch = ContrastiveTask(), make_batch(1)
    model = make_model(dropout=0.5)
    torch.manual_seed(3)
    backward_in_parts(model, task, batch, 2)
    cut = gradients(model)

    model.zero_grad()
    torch.manual_seed(3)
    seeds = torch.randint(2**62, (2,)).tolist()
    outputs: list[ClipOutput] = []
    for seed, part in zip(seeds, (batch.rows(slice(0, 4)), batch.rows(slice(4, 8)))):
        torch.manual_seed(seed)
        outputs.append(model(part.inputs, part.labels["tokens"].flatten(0, 1)))  # type: ignore[index]
    image, text = (torch.cat([getattr(o, kind) for o in outputs]) for kind in ("image", "text"))
    terms = loss_terms(pair_losses(Embeddings(image, text, outputs[0].scale), text_keys(batch), world=1))
    terms.value(task.counts(model, batch)).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(cut[name], gradient, rtol=0, atol=1e-6 * max(1.0, gradient.abs().max().item()))


def test_the_first_pass_leaves_batch_norm_alone() -> None:
    """Statistics are updated once for each part, as without the pass that caches embeddings."""
    options = {
        "backbone_config.width": 8,
        "text.depth": 1,
        "text.vocab_size": VOCABULARY,
        "text.context_length": LENGTH,
    }
    torch.manual_seed(0)
    model = saccade.create("clip_small", image_size=16, options=options).train()
    batch = make_batch(1)
    expected = [m.num_batches_tracked + 2 for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    backward_in_parts(model, ContrastiveTask(), batch, 2)
    tracked = [m.num_batches_tracked for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(tracked) > 0
    assert torch.stack(tracked).equal(torch.stack(expected))  # type: ignore[arg-type]


def test_metrics_of_parts_add_up() -> None:
    model, task, batch = make_model(), ContrastiveTask(), make_batch(3)
    whole = task.train_step(model, batch)
    parts = backward_in_parts(model, task, batch, 4)
    for name in ("R@1", "chance"):
        total = sum(terms.metrics[name].total.item() for terms in parts)
        assert total == pytest.approx(whole.metrics[name].total.item())


def test_parts_in_half_precision_have_gradients() -> None:
    """Autocast caches its copies of the weights: those of the pass without gradients must not serve the one with."""
    model, task, batch = make_model(), ContrastiveTask(), make_batch(1)
    task.train_step(model, batch).value(task.counts(model, batch)).backward()
    whole = gradients(model)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        backward_in_parts(model, task, batch, 2)
    cut = gradients(model)
    assert cut.keys() == whole.keys()
    for name, gradient in whole.items():
        assert (cut[name] - gradient).norm() < 0.1 * gradient.norm() + 1e-4, name
