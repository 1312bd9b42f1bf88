"""The losses of pairs of images and texts.

    softmax   (cross-entropy of each image over all texts + cross-entropy of each text over all images) / 2
              (CLIP; Radford et al., arXiv 2103.00020, figure 3)
    sigmoid   for each image, the sum over all texts of -log sigmoid(z (scale * cosine + bias)), z = 1 for its own text
              and -1 for the others (SigLIP; Zhai et al., arXiv 2303.15343, equation 1)

The negatives of a pair are the other pairs of the whole batch, over all parts and processes. Images with equal texts
are each other's positives (Yang et al., arXiv 2204.03610). Where an image brings several texts, the first texts are
contrasted with each other, then the second ones.

B images of this process, N of the whole batch, n texts of each in training, M captions, E width of the common space.
"""

from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.utils.checkpoint import checkpoint

Loss = Literal["softmax", "sigmoid"]
CHUNK = 2048  # texts at once in the sigmoid loss


class Embeddings(NamedTuple):
    """The output of a model of images and texts: unit vectors, and what makes logits of their cosines."""

    image: Tensor  # [B, E]
    text: Tensor  # [B * n, E]; [M, E] where images have different numbers of captions
    scale: Tensor  # [], the exponential of the logit scale
    bias: Tensor | None = None  # [], of a sigmoid loss


class PairLosses(NamedTuple):
    """What the loss and its metrics are made of, one value a pair, each ``[B, n]``."""

    loss: Tensor  # nats; of the softmax loss the mean of both directions, of the sigmoid loss the sum over all texts
    correct: Tensor  # 1 where the text nearest to the image is one of its own
    chance: Tensor  # the probability of that for a random text


def pair_losses(own: Embeddings, keys: Tensor, world: int, kind: Loss = "softmax", chunk: int = CHUNK) -> PairLosses:
    """The loss of each of this process's pairs over the pairs of all processes.

    Args:
        own: embeddings of this process's images and texts.
        keys: ``[B, n]``, equal for equal texts.
        world: processes that share the batch.
        kind: of the loss; the sigmoid one needs a bias.
        chunk: texts at once in the sigmoid loss: logits ``[B, chunk]`` are in memory, also in its backward pass.
    """
    count, start = len(own.image), 0
    image, text, all_keys = own.image, own.text, keys
    if world > 1:
        image = torch.cat(all_gather(own.image)) if kind == "softmax" else image
        text = torch.cat(all_gather(own.text))
        gathered = [torch.empty_like(keys) for _ in range(world)]
        dist.all_gather(gathered, keys)
        all_keys, start = torch.cat(gathered), dist.get_rank() * count
    columns = []
    for own_text, all_text, key in zip(
        own.text.unflatten(0, keys.shape).unbind(1), text.unflatten(0, all_keys.shape).unbind(1), all_keys.unbind(1)
    ):
        positive = key[start : start + count, None] == key  # [B, N], each image's own text among them
        if kind == "sigmoid":
            loss, correct = _sigmoid(own, all_text, positive, chunk)
        else:
            loss, correct = _softmax(own, own_text, image, all_text, positive)
        columns.append((loss, correct.double(), positive.double().mean(dim=1)))
    return PairLosses(*(torch.stack(values, dim=1) for values in zip(*columns)))


def _softmax(own: Embeddings, own_text: Tensor, image: Tensor, text: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each pair, and whether the nearest text is the image's own, ``[B]`` each."""
    target = positive / positive.sum(dim=1, keepdim=True)
    image_logits = (own.scale * own.image @ text.T).float()  # [B, N] over all texts
    text_logits = (own.scale * own_text @ image.T).float()  # [B, N] over all images
    both = [F.cross_entropy(logits, target, reduction="none") for logits in (image_logits, text_logits)]
    correct = positive.gather(1, image_logits.argmax(dim=1, keepdim=True))[:, 0]
    return (both[0] + both[1]) / 2, correct


def _sigmoid(own: Embeddings, text: Tensor, positive: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """As :func:`_softmax`. Logits of more texts than one chunk are computed again in the backward pass."""
    assert own.bias is not None, "the model has no bias: its objective is not sigmoid"
    several = len(text) > chunk
    loss, best, correct = [], [], []
    for texts, targets in zip(text.split(chunk), positive.split(chunk, dim=1)):
        inputs = own.image, texts, own.scale, own.bias, targets
        parts = checkpoint(_sigmoid_chunk, *inputs, use_reentrant=False) if several else _sigmoid_chunk(*inputs)
        for values, part in zip((loss, best, correct), parts):
            values.append(part)
    nearest = torch.stack(best).argmax(dim=0, keepdim=True)
    return torch.stack(loss).sum(dim=0), torch.stack(correct).gather(0, nearest)[0]


def _sigmoid_chunk(
    image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, positive: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each image: its loss over some texts, the largest logit among them, and whether that text is its own."""
    logits = (scale * image @ text.T + bias).float()
    best, index = logits.detach().max(dim=1)
    loss = -F.logsigmoid(torch.where(positive, logits, -logits)).sum(dim=1)
    return loss, best, positive.gather(1, index[:, None])[:, 0]
