"""CLIP's loss against open_clip's `ClipLoss`: values and gradients of both towers and of the logit scale."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.models.clip import ClipOutput
from saccade.tasks.contrastive.task import ContrastiveTask

COUNT, WIDTH = 8, 16


class FreeEmbeddings(nn.Module):
    """Embeddings that are themselves the parameters, one for each image and for each text."""

    def __init__(self, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.image = nn.Parameter(torch.randn(COUNT, WIDTH, generator=generator))
        self.text = nn.Parameter(torch.randn(COUNT, WIDTH, generator=generator))
        self.logit_scale = nn.Parameter(torch.tensor(2.0 + seed))

    def forward(self, images: Tensor, tokens: Tensor) -> ClipOutput:
        """`images` and `tokens` hold the numbers of their rows."""
        image, text = self.image[images[:, 0].long()], self.text[tokens[:, 0] - 1]
        return ClipOutput(F.normalize(image, dim=-1), F.normalize(text, dim=-1), self.logit_scale.exp())


def batch_of_pairs(texts: int) -> Batch:
    """Pairs with so many different texts."""
    rows = torch.arange(COUNT)
    return Batch(rows[:, None].float(), {"tokens": rows[:, None, None] % texts + 1}, ("",) * COUNT, rows)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("texts", [COUNT, 3])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_loss_of_clip(seed: int, texts: int, parts: int) -> None:
    """Also of a batch in parts, whose embeddings are cached.

    Where texts are equal, here each is a positive of all of their images, and there only of its own. As equal texts
    have equal embeddings, the sum over the batch is the same.
    """
    open_clip = pytest.importorskip("open_clip")
    net, task, batch = FreeEmbeddings(seed), ContrastiveTask(), batch_of_pairs(texts)
    out = net(batch.inputs, batch.labels["tokens"].flatten(0, 1))  # type: ignore[index]
    expected = open_clip.ClipLoss()(out.image, out.text, out.scale)
    references = torch.autograd.grad(expected, list(net.parameters()))

    size, counts, loss = COUNT // parts, task.counts(net, batch), torch.zeros(())
    pieces = [batch.rows(slice(start, start + size)) for start in range(0, COUNT, size)]
    for terms in task.train_parts(net, pieces, world=1):
        value = terms.value(counts).float()
        value.backward()
        loss = loss + value.detach()
    torch.testing.assert_close(loss, expected.detach(), atol=1e-6, rtol=1e-6)
    for parameter, reference in zip(net.parameters(), references):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, reference, atol=1e-6, rtol=1e-5)
