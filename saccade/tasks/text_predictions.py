"""Typed results of tasks about texts. Loads no torch, so that reports need none."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        image: the name of what it was made of, an image or a text.
        text: without marks.
    """

    image: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.image}: {self.text}"


@dataclass(frozen=True)
class TranslationMetrics:
    """How well texts were written, word after word, each the likeliest.

    Attributes:
        loss: mean of -log(probability of the right next word) with the words before it given, in nats.
        exact: share of texts that are right to the last word.
        bleu, chrf: of the whole corpus by sacrebleu, in [0, 100].
        images: how many texts.
    """

    warning = ""
    loss: float
    exact: float
    bleu: float
    chrf: float
    images: int

    @property
    def goal(self) -> float:
        """Exact matches; where there are none yet, chrF tells better from worse."""
        return self.exact + self.chrf / 100

    def row(self) -> dict[str, float]:
        return {"loss": self.loss, "exact": self.exact, "BLEU": self.bleu, "chrF": self.chrf}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"exact match {self.exact:.2%}, BLEU {self.bleu:.2f}, chrF {self.chrf:.2f}, loss {self.loss:.4f} on "
            f"{self.images} texts"
        )


@dataclass(frozen=True)
class WordsMetrics:
    """How well hidden words were named.

    Attributes:
        loss: mean of -log(probability of the hidden word), in nats.
        accuracy: share of hidden words whose likeliest guess is right.
        follows: share of pairs of which it was rightly said whether the second follows the first; None without pairs.
        images: how many texts.
        hidden: how many words.
    """

    warning = ""
    loss: float
    accuracy: float
    follows: float | None
    images: int
    hidden: int

    @property
    def goal(self) -> float:
        return -self.loss

    def row(self) -> dict[str, float]:
        row = {"loss": self.loss, "accuracy": self.accuracy}
        return row if self.follows is None else {**row, "next accuracy": self.follows}

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        pairs = "" if self.follows is None else f", next sentence {self.follows:.1%}"
        return (
            f"hidden words right {self.accuracy:.2%}, loss {self.loss:.4f}{pairs} on {self.hidden} words of "
            f"{self.images} texts"
        )
