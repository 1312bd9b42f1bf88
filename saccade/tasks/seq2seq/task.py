"""Sequence to sequence, from texts or images: cross-entropy of the next token (Vaswani et al., arXiv 1706.03762).

Training uses teacher forcing: each token is predicted from the preceding target tokens, all in parallel. Evaluation
measures the same loss and also generates texts by autoregressive decoding, greedily or with beam search.

B sources, L tokens of a source, M tokens of a target with its begin and end tokens, V tokens of the vocabulary.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from saccade.data.samples import Batch
from saccade.data.vocabulary import UNKNOWN, Vocabulary
from saccade.engine.attention_groups import AttentionGroup, Axis
from saccade.engine.collect import Collected
from saccade.engine.intervals import Resampler
from saccade.engine.task import Direction, IndependentParts, LossTerm, LossTerms, Task, image_batch
from saccade.errors import ConfigError
from saccade.models.image_to_text import ImageToText
from saccade.nn.generation import EarlyStopping, beam_search, greedy
from saccade.tasks.seq2seq.batches import NO_TOKEN, source_tokens
from saccade.tasks.seq2seq.metrics import Seq2SeqMetrics, seq2seq_metrics
from saccade.tasks.seq2seq.results import Text

UNKNOWN_TARGET = "\ufffd"  # stands in a target for an unknown token, which no generated text can match


class Generation(NamedTuple):
    """Output of a model for a batch in evaluation."""

    tokens: tuple[tuple[int, ...], ...]  # of each generated text, without begin and end
    scores: Tensor  # [B], of the generated texts
    logits: Tensor | None  # [B, M - 1, V] under teacher forcing; None without targets


class Seq2SeqTask(IndependentParts):
    """Batches have the label `target` ``[B, M]``: begin token, tokens, end token, padding.

    Args:
        vocabulary: vocabulary of source and target; None for a model without one, which takes only token ids.
        reads_images: whether sources are images; texts otherwise.
        label_smoothing: fraction of the target that is spread evenly over the vocabulary (Szegedy et al., arXiv
            1512.00567).
        max_length: maximum number of tokens in a source text and in a generated text.
        num_beams: number of beams; 1 decodes greedily.
        length_penalty: in beam search, scores are divided by the length to this power.
        early_stopping: stopping rule of beam search, see :func:`saccade.nn.generation.beam_search`.
    """

    name = "seq2seq"
    labels: tuple[str, ...] = ()
    better: Mapping[str, Direction] = {
        "loss": "lower", "exact": "higher", "BLEU": "higher", "chrF": "higher",
    }  # fmt: skip
    class_targets: tuple[str, ...] = ()

    def __init__(
        self,
        vocabulary: Vocabulary | None,
        *,
        reads_images: bool = False,
        label_smoothing: float = 0.0,
        max_length: int = 64,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        early_stopping: EarlyStopping = False,
    ):
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must be in [0, 1), not {label_smoothing}")
        if num_beams < 1:
            raise ConfigError(f"num_beams must be at least 1, not {num_beams}")
        self._vocabulary, self.reads_images = vocabulary, reads_images
        self.label_smoothing, self.max_length = label_smoothing, max_length
        self.num_beams, self.length_penalty = num_beams, length_penalty
        self.early_stopping: EarlyStopping = early_stopping

    @property
    def vocabulary(self) -> Vocabulary:
        """Tokens and their ids.

        Raises:
            ConfigError: the model has no vocabulary.
        """
        if self._vocabulary is None:
            raise ConfigError(
                "this model has no vocabulary (tokenizer.json next to its weights): decode token ids with "
                "saccade.nn.generation.greedy(predictor.model, ids)"
            )
        return self._vocabulary

    @property
    def smallest_loss(self) -> float:
        """The entropy of the smoothed target."""
        size = self.vocabulary.size
        other = self.label_smoothing / size
        right = 1 - self.label_smoothing + other
        return -right * math.log(right) - (size - 1) * (other * math.log(other) if other else 0.0)

    def counts(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Tokens that are predicted: those of the targets but the first of each."""
        return {"tokens": self.is_token(batch).sum()}

    def train_step(self, model: nn.Module, batch: Batch) -> LossTerms:
        """Teacher forcing: cross-entropy in nats; how many tokens have the highest probability."""
        return self.loss_terms(model(batch.inputs, target_of(batch)[:, :-1]), batch)

    def loss_terms(self, logits: Tensor, batch: Batch) -> LossTerms:
        """Logits ``[B, M - 1, V]`` -> the loss and the accuracy, summed over tokens."""
        next_tokens = target_of(batch)[:, 1:]
        loss = F.cross_entropy(
            logits.float().flatten(0, 1), next_tokens.flatten(), ignore_index=self.vocabulary.pad,
            label_smoothing=self.label_smoothing, reduction="sum",
        )  # fmt: skip
        correct = (logits.detach().argmax(-1) == next_tokens) & self.is_token(batch)
        return LossTerms(
            {"cross-entropy": LossTerm(loss, "tokens")}, {"token accuracy": LossTerm(correct.sum(), "tokens")}
        )

    def is_token(self, batch: Batch) -> Tensor:
        """Which of the predicted positions are no padding, ``[B, M - 1]`` boolean."""
        return target_of(batch)[:, 1:] != self.vocabulary.pad

    def eval_step(self, model: nn.Module, batch: Batch) -> Generation:
        """Generated texts, and the logits under teacher forcing if there are targets."""
        has_target = isinstance(batch.labels, dict) and "target" in batch.labels
        logits = model(batch.inputs, target_of(batch)[:, :-1]) if has_target else None
        net: Any = model  # an AutoregressiveModel
        if self.num_beams == 1:
            hypotheses = greedy(net, batch.inputs, self.max_length)
        else:
            hypotheses = beam_search(
                net, batch.inputs, self.num_beams, max_length=self.max_length, length_penalty=self.length_penalty,
                early_stopping=self.early_stopping,
            )  # fmt: skip
        scores = torch.tensor([hypothesis.score for hypothesis in hypotheses])
        return Generation(tuple(hypothesis.tokens for hypothesis in hypotheses), scores, logits)

    def collect(self, outputs: Generation, batch: Batch) -> dict[str, Tensor]:
        """`generated` and `reference`, the concatenated token ids of all texts, with `num_generated [N]` and
        `num_reference [N]`; `loss [N]`, in nats, summed over the `num_target [N]` tokens of each target that the model
        can read, the end included."""
        next_tokens, is_token = target_of(batch)[:, 1:], self.is_token(batch)
        reference, is_reference = self.reference_of(batch)
        assert outputs.logits is not None
        losses = F.cross_entropy(outputs.logits.float().transpose(1, 2), next_tokens, reduction="none") * is_token
        return {
            "generated": torch.tensor([token for text in outputs.tokens for token in text], dtype=torch.long),
            "num_generated": torch.tensor([len(text) for text in outputs.tokens]),
            "reference": reference[is_reference],
            "num_reference": is_reference.sum(1),
            "num_target": is_token.sum(1),
            "loss": losses.sum(1),
        }

    def reference_of(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(token ids ``[B, R]`` of what generated texts are compared with, which of them are no padding); the targets
        of a batch without references of their own."""
        assert isinstance(batch.labels, dict)
        if "reference" in batch.labels:
            return batch.labels["reference"], batch.labels["reference"] != NO_TOKEN
        next_tokens = target_of(batch)[:, 1:]
        return next_tokens, self.is_token(batch) & (next_tokens != self.vocabulary.end)

    def measure(self, collected: Collected) -> Seq2SeqMetrics:
        """Generated texts against whole references; the loss of the part of a target that the model can read."""
        if not len(collected):
            raise ConfigError("there are no texts to measure on")
        loss = collected["loss"].double().sum() / collected["num_target"].sum()
        truncated = int((collected["num_reference"] >= collected["num_target"]).sum())  # a target has an end besides
        return seq2seq_metrics(self.texts(collected, "generated"), self.references(collected), loss.item(), truncated)

    def resampler(self, collected: Collected) -> Resampler:
        generated, references = self.texts(collected, "generated"), self.references(collected)
        loss, num_target = collected["loss"].double(), collected["num_target"]

        def resample(index: Tensor) -> dict[str, float]:
            drawn = index.tolist()
            mean = loss[index].sum() / num_target[index].sum()
            texts = [generated[i] for i in drawn], [references[i] for i in drawn]
            return seq2seq_metrics(*texts, mean.item()).scalars()

        return resample

    def references(self, collected: Collected) -> list[str]:
        """The texts that generated texts are compared with; no generated text equals an unknown token."""
        return [text.replace(UNKNOWN, UNKNOWN_TARGET) for text in self.texts(collected, "reference")]

    def texts(self, collected: Collected, name: str) -> list[str]:
        """The texts of collected token ids, `generated` or `reference`."""
        return [self.vocabulary.decode(ids.tolist()) for ids in collected.per_input(name, f"num_{name}")]

    def rows(self, collected: Collected) -> list[dict[str, Any]]:
        texts = zip(collected.names, self.texts(collected, "generated"), self.texts(collected, "reference"))
        return [{"image": name, "text": text, "truth": target} for name, text, target in texts]

    def input_batch(self, inputs: Sequence[Any], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> Batch:
        if self.reads_images:
            return image_batch(inputs, sizes, names)
        for name, text in zip(names, inputs):
            if not text.strip():
                raise ConfigError(f"a text is empty: {name!r}")
        ids = [source_tokens(self.vocabulary, text, self.max_length) for text in inputs]
        sources = pad_sequence(ids, batch_first=True, padding_value=self.vocabulary.pad)
        return Batch(sources, {}, tuple(names), torch.arange(len(ids)))

    def whole_pass(self, model: nn.Module, outputs: Generation, batch: Batch) -> None:
        """The generated text under teacher forcing."""
        target = torch.tensor([[self.vocabulary.begin, *outputs.tokens[0]]], device=batch.inputs.device)
        model(batch.inputs, target)

    def incomparable_metrics(self, other: Task) -> Mapping[str, str]:
        """The loss per token, if the vocabularies differ; metrics that compare texts remain."""
        assert isinstance(other, Seq2SeqTask)
        if self._vocabulary is None or other._vocabulary is None or self._vocabulary.same_tokens(other._vocabulary):
            return {}
        sizes = f"{self._vocabulary.size:,} and {other._vocabulary.size:,} tokens"
        return {"loss": f"it is per token, and the vocabularies differ ({sizes})"}

    def attention_groups(self, model: nn.Module, outputs: Generation, batch: Batch) -> list[AttentionGroup]:
        """Each generated token on the source, the source among itself, and each generated token on those before it."""
        vocabulary, tokens = self.vocabulary, outputs.tokens[0]
        generated = Axis("generated text", tuple(vocabulary.tokens([*tokens, vocabulary.end])), kind="output")
        before = Axis("text before it", tuple(vocabulary.tokens([vocabulary.begin, *tokens])), kind="output")
        cross, own = ("decoder.*.cross_attn",), ("decoder.*.attn",)
        decoder = AttentionGroup("decoder", "generated text", own, generated, before)
        if not isinstance(model, ImageToText):
            source = Axis("source", tuple(vocabulary.tokens(batch.inputs[0].tolist())), kind="input")
            return [
                AttentionGroup("cross", "alignment", cross, generated, source),
                AttentionGroup("encoder", "source", ("encoder.*",), source, source),
                decoder,
            ]
        size = (batch.inputs.shape[-2], batch.inputs.shape[-1])
        layout, encoder = model.token_layout(size), model.backbone.token_layout(size)
        patches = Axis("patches", (), replace(layout, num_prefix=0))
        groups = [AttentionGroup("cross", "text on image", cross, generated, patches), decoder]
        if encoder is not None:
            prefix = tuple("CLS" if i == 0 else f"REG {i}" for i in range(encoder.num_prefix))
            own_patches = Axis("patches", prefix, encoder)
            groups.insert(1, AttentionGroup("self", "patches", ("backbone.*",), own_patches, own_patches))
        return groups

    def decode(self, outputs: Generation, batch: Batch) -> list[Text]:
        return [Text(name, self.vocabulary.decode(ids)) for name, ids in zip(batch.names, outputs.tokens)]


def target_of(batch: Batch) -> Tensor:
    """``[B, M]``."""
    assert isinstance(batch.labels, dict)
    return batch.labels["target"]
