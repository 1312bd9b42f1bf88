"""Contrastive learning of images and texts, by the losses of :mod:`.losses`.

A batch in parts has the gradient of the whole batch by cached embeddings (GradCache; Gao et al., arXiv 2101.06983): all
parts are embedded without a gradient, the loss gives the gradient of each embedding, and each part is then embedded
again and backpropagates its own. Both passes draw the same dropout.

B images of a part, N of the whole batch, n texts of each in training, M captions, E width of the common space.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.task import Direction, LossTerm, LossTerms, image_batch
from saccade.errors import ConfigError
from saccade.nn.batch_norm import frozen_statistics
from saccade.tasks.contrastive.losses import Embeddings, Loss, PairLosses, pair_losses
from saccade.tasks.contrastive.metrics import RECALLS, WAYS, ContrastiveMetrics, retrieval_metrics, retrieval_resampler
from saccade.tasks.contrastive.results import Embedding

PAIRS = "pairs"  # the count that divides the loss


class ContrastiveTask:
    """Pairs of images and texts. Batches bring `tokens` ``[B, n, L]``; in evaluation -1 where an image has fewer texts
    than others.

    Args:
        loss: that of training.
    """

    name = "contrastive"
    labels: tuple[str, ...] = ()
    better: Mapping[str, Direction] = dict.fromkeys((f"{way} R@{most}" for way in WAYS for most in RECALLS), "higher")
    class_targets: tuple[str, ...] = ()
    smallest_loss = 0.0

    def __init__(self, loss: Loss = "softmax"):
        self.loss: Loss = loss

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {PAIRS: torch.tensor(tokens_of(batch).shape[:2].numel())}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """The loss of a whole batch in one process."""
        return loss_terms(pair_losses(embed(model, batch), text_keys(batch), world=1, kind=self.loss))

    def train_parts(self, model: nn.Module, parts: Sequence[Batch], world: int) -> Iterator[LossTerms]:
        if len(parts) == 1:
            yield loss_terms(pair_losses(embed(model, parts[0]), text_keys(parts[0]), world, self.loss))
            return
        seeds = torch.randint(2**62, (len(parts),)).tolist()
        with torch.no_grad(), frozen_statistics(model):
            cached = [embed(model, part, seed) for part, seed in zip(parts, seeds)]
        torch.clear_autocast_cache()  # its copies of the weights were made without gradients
        with torch.enable_grad():
            leaves = Embeddings(
                torch.cat([c.image for c in cached]).requires_grad_(),
                torch.cat([c.text for c in cached]).requires_grad_(),
                cached[0].scale.clone().requires_grad_(),
                None if cached[0].bias is None else cached[0].bias.clone().requires_grad_(),
            )
            keys = torch.cat([text_keys(part) for part in parts])
            losses = pair_losses(leaves, keys, world, self.loss)
            used = [leaf for leaf in leaves if leaf is not None]
            gradients = Embeddings(*torch.autograd.grad(losses.loss.sum(), used))
        size, texts = len(cached[0].image), len(cached[0].text)
        for number, (part, seed) in enumerate(zip(parts, seeds)):
            images = slice(number * size, (number + 1) * size)
            own = Embeddings(
                gradients.image[images],
                gradients.text[number * texts : (number + 1) * texts],
                gradients.scale / len(parts),
                None if gradients.bias is None else gradients.bias / len(parts),
            )
            terms = loss_terms(PairLosses(*(values[images] for values in losses)))
            yield with_gradient(terms, embed(model, part, seed), own)

    def eval_step(self, model: nn.Module, batch: Batch) -> Embeddings:
        """Every image and every caption, ``[B, E]`` and ``[M, E]``."""
        tokens = tokens_of(batch)
        return Embeddings(*model(batch.inputs, tokens[has_text(tokens)]))

    def collect(self, outputs: Embeddings, batch: Batch) -> dict[str, Tensor]:
        """``image [N, E]``; ``text [M, E]`` with ``num_texts [N]``."""
        num_texts = has_text(tokens_of(batch)).sum(dim=1)
        return {"image": outputs.image.float(), "text": outputs.text.float(), "num_texts": num_texts}

    def measure(self, collected: Collected) -> ContrastiveMetrics:
        if not len(collected):
            raise ConfigError("there are no pairs to measure on")
        owner = torch.arange(len(collected)).repeat_interleave(collected["num_texts"])
        return retrieval_metrics(collected["image"], collected["text"], owner)

    def resampler(self, collected: Collected) -> Resampler:
        return retrieval_resampler(collected["image"], collected["text"], collected["num_texts"])

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        """No rows: the ranks of all images are among the metrics."""
        return []

    def input_batch(self, inputs: Sequence[Tensor], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        """Images without captions."""
        batch = image_batch(inputs, sizes, names)
        assert isinstance(batch.labels, dict)
        return batch._replace(labels={**batch.labels, "tokens": torch.zeros(len(inputs), 0, 1, dtype=torch.long)})

    def decode(self, outputs: Embeddings, batch: Batch) -> list[Embedding]:
        vectors = outputs.image.float().cpu().numpy()
        return [Embedding(name, vector) for name, vector in zip(batch.names, vectors)]


def embed(model: nn.Module, batch: Batch, seed: int | None = None) -> Embeddings:
    """Images and texts of a training batch.

    Args:
        model: returns unit vectors of images and of texts, and the scale.
        batch: with as many texts for each image.
        seed: of dropout and stochastic depth; by default the current state of PyTorch's generator.
    """
    if seed is not None:
        torch.manual_seed(seed)
    return Embeddings(*model(batch.inputs, tokens_of(batch).flatten(0, 1)))


def loss_terms(losses: PairLosses) -> LossTerms:
    """The sums over pairs."""
    metrics = {"R@1": LossTerm(losses.correct.sum(), PAIRS), "chance": LossTerm(losses.chance.sum(), PAIRS)}
    return LossTerms({"contrastive": LossTerm(losses.loss.sum(), PAIRS)}, metrics)


def with_gradient(terms: LossTerms, embeddings: Embeddings, gradients: Embeddings) -> LossTerms:
    """Loss terms with their values, and with the gradients of the loss with respect to `embeddings`."""
    product = sum((g * e).sum() for g, e in zip(gradients, embeddings) if g is not None and e is not None)
    assert isinstance(product, Tensor)
    loss = {
        name: term._replace(total=term.total.detach() + (product - product.detach()))
        for name, term in terms.loss.items()
    }
    return LossTerms(loss, terms.metrics)


def tokens_of(batch: Batch) -> Tensor:
    assert isinstance(batch.labels, dict)
    return batch.labels["tokens"]


def has_text(tokens: Tensor) -> Tensor:
    """Which rows of ``[B, n, L]`` hold a text: ``[B, n]`` boolean."""
    return tokens[..., 0] >= 0


def text_keys(batch: Batch) -> Tensor:
    """A number for each text of a batch: ``[B, n]``."""
    return keys_of(tokens_of(batch))


def keys_of(tokens: Tensor) -> Tensor:
    """A number for each text ``[..., L]`` -> ``[...]``, the same for the same tokens however long the padding is."""
    factors = torch.full((tokens.shape[-1],), 1_000_003, device=tokens.device).cumprod(0)  # modulo 2^64
    return (tokens * factors).sum(dim=-1)
