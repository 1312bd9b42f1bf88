"""Which sentence belongs to which picture: the symmetric contrast of CLIP (Radford et al., arXiv 2103.00020, figure 3).

    loss = (cross-entropy of each image over all texts + cross-entropy of each text over all images) / 2

The other pairs of the batch are what a pair is told apart from; several processes learn from the pairs of all. Images
whose texts are the same are not told apart: each is an answer (Yang et al., arXiv 2204.03610). Where an image brings
several texts, the first are contrasted with the first, the second with the second.

B images of this process, N of all, n texts of each in training, M captions, E width of the common space.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from saccade.data.samples import Batch
from saccade.errors import ConfigError
from saccade.tasks.predictions import ContrastMetrics

RECALLS = (1, 5, 10)
COLLAPSED = 0.98  # mean cosine between different images above which they are all one


class Embedded(Protocol):
    """What a model of images and texts gives: unit vectors of both kinds, and the factor of their cosines."""

    @property
    def image(self) -> Tensor: ...  # [B, E]

    @property
    def text(self) -> Tensor: ...  # [T, E]

    @property
    def scale(self) -> Tensor: ...  # []


class Pairs(NamedTuple):
    """Unit vectors of this process's pairs, of everybody's, and where in those this process's begin."""

    own: Embedded  # image [B, E], text [B * n, E]; [M, E] where images have different numbers of captions
    image: Tensor  # [N, E]
    text: Tensor  # [N * n, E]
    keys: Tensor  # [N * n], equal for equal texts
    start: int


class ContrastiveTask:
    """Pairs of images and texts. Batches bring their texts as `tokens` ``[B, n, L]``, -1 where an image has fewer."""

    name = "contrast"
    labels: tuple[str, ...] = ()
    smallest_loss = 0.0

    def run(self, model: nn.Module, batch: Batch) -> Pairs:
        tokens = told(batch)
        own: Embedded = model(batch.inputs, tokens)
        keys = keys_of(tokens)
        if model.training and dist.is_initialized() and dist.get_world_size() > 1:
            image, text = (torch.cat(all_gather(part)) for part in (own.image, own.text))
            everybodys = [torch.empty_like(keys) for _ in range(dist.get_world_size())]
            dist.all_gather(everybodys, keys)
            return Pairs(own, image, text, torch.cat(everybodys), dist.get_rank() * len(own.image))
        return Pairs(own, own.image, own.text, keys, 0)

    def step(self, outputs: Pairs, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over this process's pairs; how many images find their text, and how many would by chance."""
        scale, count = outputs.own.scale, len(batch.inputs)
        texts = len(outputs.own.text) // count
        losses, found, chance = [], [], []
        for text in range(texts):
            own, everybodys, keys = outputs.own.text[text::texts], outputs.text[text::texts], outputs.keys[text::texts]
            same = keys[outputs.start : outputs.start + count, None] == keys  # [B, N], each image's own text among them
            answers = same / same.sum(dim=1, keepdim=True)
            texts_of_images = scale * outputs.own.image @ everybodys.T  # [B, N]
            images_of_texts = scale * own @ outputs.image.T
            losses += [F.cross_entropy(logits.float(), answers) for logits in (texts_of_images, images_of_texts)]
            with torch.no_grad():
                found.append(same.gather(1, texts_of_images.argmax(dim=1, keepdim=True)).sum())
                chance.append(same.double().mean() * count)
        shown = {"R@1": torch.stack(found).double().mean(), "chance": torch.stack(chance).mean()}
        return torch.stack(losses).mean(), shown

    def keep(self, outputs: Pairs, batch: Batch) -> tuple[Tensor, Tensor]:
        """Vectors of images ``[B, E]``, and of their captions ``[B, n, E]``, NaN where there is none."""
        assert isinstance(batch.labels, dict)
        present = batch.labels["tokens"][..., 0] >= 0
        texts = outputs.own.text.new_full((*present.shape, outputs.own.text.shape[1]), float("nan"), dtype=torch.float)
        texts[present] = outputs.own.text.float()
        return outputs.own.image.float().cpu(), texts.cpu()

    def decode(self, outputs: Tensor, names: Sequence[str], *, top: int = 5) -> list[Any]:
        """Nothing: a vector alone says nothing; see `saccade zeroshot` and `saccade search`."""
        return []

    def truth(self, target: Tensor) -> Any:
        return None

    def measure(self, outputs: Tensor, targets: Tensor) -> ContrastMetrics:
        """Vectors of N images ``[N, E]`` and of their captions ``[N, n, E]`` -> retrieval both ways."""
        if not len(outputs):
            raise ConfigError("there are no pairs to measure on")
        present = ~targets[..., 0].isnan()
        texts = targets[present]  # [M, E]
        owner = present.nonzero()[:, 0]
        to_text, to_image = ranks(outputs, texts, owner)
        count = len(outputs)
        alike = ((outputs.double().sum(dim=0).square().sum() - count) / max(count * (count - 1), 1)).item()
        return ContrastMetrics(
            image_to_text=recalls(to_text),
            text_to_image=recalls(to_image),
            alike=alike,
            images=count,
            captions=len(texts),
            ranks=tuple(to_text.tolist()),
            warning=f"the vectors of all images are nearly the same (mean cosine {alike:.3f}): training has collapsed; "
            "a smaller --lr or larger batches are the usual cures" if count > 1 and alike > COLLAPSED else "",
        )  # fmt: skip


def told(batch: Batch) -> Tensor:
    """The texts of a batch one after the other, ``[M, L]``."""
    assert isinstance(batch.labels, dict)
    tokens = batch.labels["tokens"]
    return tokens[tokens[..., 0] >= 0]


def keys_of(tokens: Tensor) -> Tensor:
    """A number for each text ``[M, L]`` -> ``[M]``, the same for the same words however far the row is filled up."""
    factors = torch.full((tokens.shape[1],), 1_000_003, device=tokens.device).cumprod(0)  # modulo 2^64
    return (tokens * factors).sum(dim=1)


def ranks(images: Tensor, texts: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """How many strangers stand before the best of an image's own texts ``[N]``, and before a text's own image ``[M]``.

    A stranger that is just as near stands before: where all vectors are one, nothing is found.

    Args:
        images, texts: unit vectors ``[N, E]`` and ``[M, E]``.
        owner: the image of each text, ``[M]``.
    """
    cosines = images @ texts.T  # [N, M]
    mine = owner[None] == torch.arange(len(images))[:, None]
    best = cosines.masked_fill(~mine, -torch.inf).max(dim=1, keepdim=True).values
    to_text = ((cosines >= best) & ~mine).sum(dim=1)
    own = cosines[owner, torch.arange(len(texts))]
    to_image = (cosines >= own).sum(dim=0) - 1
    return to_text, to_image


def recalls(found: Tensor) -> tuple[float, ...]:
    """Share of ranks ``[N]`` below 1, 5 and 10."""
    return tuple((found < most).double().mean().item() for most in RECALLS)
