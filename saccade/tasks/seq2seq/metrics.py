"""Metrics of generated texts: exact matches, BLEU, chrF, and the loss under teacher forcing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from saccade.errors import DataError


@dataclass(frozen=True)
class Seq2SeqMetrics:
    """Metrics of a model on pairs of source and target.

    Attributes:
        loss: mean of -log(probability of the correct next token) under teacher forcing, in nats.
        exact: fraction of generated texts that equal their target.
        bleu, chrf: corpus metrics by sacrebleu, in [0, 100].
        images: number of pairs.
        truncated: number of references with more tokens than the model can generate. They are compared whole; `loss`
            covers the tokens up to that length.
    """

    loss: float
    exact: float
    bleu: float
    chrf: float
    images: int
    truncated: int = 0

    @property
    def warning(self) -> str:
        if not self.truncated:
            return ""
        return (
            f"{self.truncated} of {self.images} references are longer than the model's context: no generated text can "
            "equal them, they count whole in BLEU and chrF, and in the loss up to that length"
        )

    @property
    def count(self) -> int:
        return self.images

    @property
    def selection(self) -> float:
        """Exact matches; chrF ranks models without any."""
        return self.exact + self.chrf / 100

    def scalars(self) -> dict[str, float]:
        return {"loss": self.loss, "exact": self.exact, "BLEU": self.bleu, "chrF": self.chrf}

    def table(self) -> str:
        return ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Seq2SeqMetrics":
        """The inverse of :meth:`to_dict`, also after a JSON round trip."""
        return cls(**values)

    def __str__(self) -> str:
        return (
            f"exact match {self.exact:.2%}, BLEU {self.bleu:.2f}, chrF {self.chrf:.2f}, loss {self.loss:.4f} on "
            f"{self.images} texts" + (f", {self.truncated} longer than the model's context" if self.truncated else "")
        )


def seq2seq_metrics(
    generated: Sequence[str], targets: Sequence[str], loss: float, truncated: int = 0
) -> Seq2SeqMetrics:
    """The metrics of N generated texts.

    Args:
        generated: one text per source.
        targets: the target texts, in the same order.
        loss: mean over all tokens of the targets, in nats.
        truncated: number of targets longer than the model's context.

    Raises:
        DataError: the package sacrebleu is not installed.
    """
    try:
        from sacrebleu import corpus_bleu, corpus_chrf
    except ImportError:
        raise DataError("BLEU and chrF need one more package: pip install saccade[text]") from None
    return Seq2SeqMetrics(
        loss=loss,
        exact=sum(text == target for text, target in zip(generated, targets)) / len(targets),
        bleu=corpus_bleu(generated, [targets]).score,
        chrf=corpus_chrf(generated, [targets]).score,
        images=len(targets),
        truncated=truncated,
    )
