"""Masked language modelling: predict the masked tokens of a text (Devlin et al., arXiv 1810.04805).

    loss = mean over masked tokens of -log p(token)  [+ mean over pairs of -log p(does the second sentence follow?)]

B texts, T tokens of a text, V tokens of the vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from saccade.data.samples import Batch
from saccade.data.vocabulary import MASK, Vocabulary
from saccade.engine.attention_groups import AttentionGroup, Axis
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler, remeasure
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, Task
from saccade.errors import ConfigError
from saccade.models.perceiver_text import PerceiverText
from saccade.tasks.masked_lm.batches import IGNORE_INDEX
from saccade.tasks.masked_lm.metrics import MaskedLMMetrics
from saccade.tasks.masked_lm.results import FilledText, MaskPrediction

PREDICTED = "masked tokens"  # name of their count


class TokenLogits(Protocol):
    """The output of a masked language model."""

    @property
    def logits(self) -> Tensor | None: ...  # [B, T, V]; None for an encoder without a head

    @property
    def follows(self) -> Tensor | None: ...  # [B, 2] logits of next-sentence prediction: yes, no


class MaskedLMTask(IndependentParts):
    """Batches have the labels `target` ``[B, T]`` (IGNORE_INDEX where nothing is predicted), `types` ``[B, T]``, the
    segment of each token, and of pairs `follows` ``[B]``, 0 yes, 1 no.

    Args:
        vocabulary: of the texts; None for a model without one, which reads token ids only.
        max_length: maximum number of tokens in a text, including special tokens.
        top: number of predictions for each [MASK], the most probable first.
    """

    name = "masked_lm"
    labels: tuple[str, ...] = ()
    better: Mapping[str, Direction] = {
        "loss": "lower", "accuracy": "higher", "next-sentence accuracy": "higher",
    }  # fmt: skip
    class_targets: tuple[str, ...] = ()
    smallest_loss = 0.0

    def __init__(self, vocabulary: Vocabulary | None, *, max_length: int = 512, top: int = 5):
        if top < 1:
            raise ConfigError(f"top must be at least 1, not {top}")
        self._vocabulary, self.max_length, self.top = vocabulary, max_length, top

    def incomparable_metrics(self, other: Task) -> Mapping[str, str]:
        """The means over tokens, where the vocabularies differ."""
        assert isinstance(other, MaskedLMTask)
        if self._vocabulary is None or other._vocabulary is None or self._vocabulary.same_tokens(other._vocabulary):
            return {}
        reason = f"the vocabularies differ ({self._vocabulary.size:,} and {other._vocabulary.size:,} tokens)"
        return dict.fromkeys(("loss", "accuracy"), reason)

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens and their ids.

        Raises:
            ConfigError: the model has no vocabulary.
        """
        if self._vocabulary is None:
            raise ConfigError(
                "this model has no vocabulary (vocab.txt or tokenizer.json next to its weights): call predictor.model "
                "with token ids"
            )
        return self._vocabulary

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        labels = labels_of(batch)
        counts = {PREDICTED: (labels["target"] != IGNORE_INDEX).sum()}
        return counts | ({"pairs": torch.tensor(len(labels["follows"]))} if "follows" in labels else {})

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        return self.loss_terms(self.eval_step(model, batch), batch)

    def loss_terms(self, outputs: TokenLogits, batch: Batch) -> LossTerms:
        """Cross-entropy in nats, summed over masked tokens, and over pairs; how many predictions are right."""
        labels = labels_of(batch)
        loss = {PREDICTED: LossTerm(self.token_losses(outputs, batch).sum(), PREDICTED)}
        metrics = {"accuracy": LossTerm(self.correct(outputs, batch).sum(), PREDICTED)}
        if "follows" in labels:
            logits = next_sentence_logits(outputs)
            correct = (logits.detach().argmax(1) == labels["follows"]).sum()
            loss["next sentence"] = LossTerm(F.cross_entropy(logits, labels["follows"], reduction="sum"), "pairs")
            metrics["next-sentence accuracy"] = LossTerm(correct, "pairs")
        return LossTerms(loss, metrics)

    def token_losses(self, outputs: TokenLogits, batch: Batch) -> Tensor:
        """Cross-entropy of each masked token in nats, 0 elsewhere: ``[B, T]``."""
        logits = token_logits(outputs).float().transpose(1, 2)
        return F.cross_entropy(logits, labels_of(batch)["target"], ignore_index=IGNORE_INDEX, reduction="none")

    @torch.no_grad()
    def correct(self, outputs: TokenLogits, batch: Batch) -> Tensor:
        """Masked tokens whose most probable prediction is correct, ``[B, T]`` boolean."""
        target = labels_of(batch)["target"]
        return (token_logits(outputs).argmax(-1) == target) & (target != IGNORE_INDEX)

    def eval_step(self, model: nn.Module, batch: Batch) -> TokenLogits:
        return model(batch.inputs, labels_of(batch)["types"], batch.inputs != self.vocabulary.pad)

    def collect(self, outputs: TokenLogits, batch: Batch) -> dict[str, Tensor]:
        """Of each text `loss [N]`, summed over its masked tokens in nats, `num_correct [N]` and `num_masked [N]`; of
        pairs `follows_correct [N]`, whether next-sentence prediction is right."""
        labels = labels_of(batch)
        tensors = {
            "loss": self.token_losses(outputs, batch).sum(1),
            "num_correct": self.correct(outputs, batch).sum(1),
            "num_masked": (labels["target"] != IGNORE_INDEX).sum(1),
        }
        if "follows" in labels:
            tensors["follows_correct"] = next_sentence_logits(outputs).argmax(1) == labels["follows"]
        return tensors

    def measure(self, collected: Collected) -> MaskedLMMetrics:
        if not len(collected):
            raise ConfigError("there are no texts to measure on")
        count = int(collected["num_masked"].sum())
        pairs = collected.tensors.get("follows_correct")
        return MaskedLMMetrics(
            loss=collected["loss"].double().sum().item() / max(count, 1),
            accuracy=collected["num_correct"].sum().item() / max(count, 1),
            follows=None if pairs is None else pairs.double().mean().item(),
            images=len(collected),
            hidden=count,
        )

    def resampler(self, collected: Collected) -> Resampler:
        return remeasure(self.measure, collected)

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        """None: the report makes the predictions that it shows."""
        return []

    def input_batch(self, inputs: Sequence[str], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        """Texts with [MASK]; "[SEP]" in a text separates two sentences."""
        batch = self.text_batch(inputs, names)
        for text, tokens in zip(inputs, batch.inputs):
            if not bool((tokens == self.vocabulary.mask).any()):
                raise ConfigError(f"{text!r} has no {MASK}: write one in the place of each token to predict")
        return batch

    def text_batch(self, texts: Sequence[str], names: Sequence[str]) -> Batch:
        """The same for texts that need no [MASK]."""
        vocabulary = self.vocabulary
        ids = []
        for text in texts:
            tokens = [vocabulary.begin, *vocabulary([text])[0], vocabulary.end]
            if len(tokens) > self.max_length:
                raise ConfigError(f"the text has {len(tokens)} tokens, and the model reads at most {self.max_length}")
            ids.append(torch.tensor(tokens))
        tokens = pad_sequence(ids, batch_first=True, padding_value=vocabulary.pad)
        ends = (tokens == vocabulary.end).long()
        types = (ends.cumsum(1) - ends).clamp(max=1)  # 0 up to the first end token, 1 after it
        return Batch(tokens, {"types": types}, tuple(names), torch.arange(len(ids)))

    def with_masked_tokens(self, batch: Batch, masked: Tensor) -> Batch:
        """The batch with [MASK] in some more places, ``[B, L]`` boolean."""
        special = sum(batch.inputs == token for token in (self.vocabulary.begin, self.vocabulary.end)) > 0
        if bool((masked & special).any()):
            raise ConfigError("the tokens that begin and end a text are never masked: choose others")
        return batch._replace(inputs=batch.inputs.masked_fill(masked, self.vocabulary.mask))

    def attention_groups(self, model: nn.Module, outputs: TokenLogits, batch: Batch) -> list[AttentionGroup]:
        """Of a BERT the tokens among themselves; of a Perceiver the latents on the bytes, the latents among themselves,
        and the output of every byte on the latents."""
        tokens = self.vocabulary.tokens(batch.inputs[0].tolist())
        masked = (batch.inputs[0] == self.vocabulary.mask).nonzero()[:, 0].tolist()
        text = Axis("text", tuple(tokens), kind="input")
        if not isinstance(model, PerceiverText):
            first = masked[0] if masked else min(1, len(tokens) - 1)
            return [AttentionGroup("self", "tokens", ("encoder.*",), text, text, first=first)]
        latents = Axis("latents", tuple(f"latent {i}" for i in range(model.config.latents.count)))
        return [
            AttentionGroup("cross", "latents on bytes", ("latents.read.*",), latents, text),
            AttentionGroup("latents", "latents", ("latents.blocks.*",), latents, latents),
            AttentionGroup("output", "bytes on latents", ("decoder.*",), text, latents),
        ]

    def decode(self, outputs: TokenLogits, batch: Batch) -> list[FilledText]:
        probabilities = token_logits(outputs).float().softmax(-1)
        masked = batch.inputs == self.vocabulary.mask
        texts = zip(batch.names, probabilities, masked)
        return [FilledText(name, self.predictions(row, mask.nonzero()[:, 0])) for name, row, mask in texts]

    def predictions(self, probabilities: Tensor, positions: Tensor) -> tuple[MaskPrediction, ...]:
        """Probabilities of one text ``[T, V]`` -> the most probable tokens at some positions ``[n]``."""
        vocabulary = self.vocabulary
        # A model may have more outputs than its vocabulary has tokens.
        best = probabilities[positions, : vocabulary.size].topk(min(self.top, vocabulary.size), dim=-1)
        rows = zip(positions.tolist(), best.indices.tolist(), best.values.tolist())
        return tuple(MaskPrediction(p, tuple(zip(vocabulary.tokens(ids), values))) for p, ids, values in rows)


def token_logits(outputs: TokenLogits) -> Tensor:
    """``[B, T, V]``.

    Raises:
        ConfigError: the encoder has no head for masked language modelling.
    """
    if outputs.logits is None:
        raise ConfigError(
            "this encoder has no head for masked language modelling: train one with saccade pretrain TEXTS --init, or "
            "use the hidden states, predictor.model(tokens).hidden"
        )
    return outputs.logits


def next_sentence_logits(outputs: TokenLogits) -> Tensor:
    """``[B, 2]``.

    Raises:
        ConfigError: the encoder has no head for next-sentence prediction.
    """
    if outputs.follows is None:
        raise ConfigError("this encoder has no head for next-sentence prediction")
    return outputs.follows.float()


def labels_of(batch: Batch) -> dict[str, Tensor]:
    assert isinstance(batch.labels, dict)
    return batch.labels
