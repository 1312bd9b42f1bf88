"""Options of a sequence-to-sequence run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from saccade.errors import ConfigError

VocabularyKind = Literal["word", "char", "bpe", "byte"]


@dataclass(frozen=True)
class Seq2SeqConfig:
    """How texts become tokens, and the loss."""

    vocabulary: VocabularyKind = "word"  # what a token is; learned from the training texts, one for source and target
    vocab_size: int = 8000  # tokens at most
    max_length: int = 64  # tokens of a text at most, special ones included; longer texts are truncated
    label_smoothing: float = 0.0  # fraction of the target that is spread evenly over the vocabulary

    SUMMARY: ClassVar[str] = "a text for a text or an image"
    DATA: ClassVar[str] = 'a TSV, CSV or JSONL of source,target, or "numbers"; images and captions, or "strips"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 1000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("seq2seq", "image_to_text")

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"seq2seq.label_smoothing must lie in [0, 1), not {self.label_smoothing}")
        if self.max_length < 3:
            raise ConfigError(f"seq2seq.max_length must be at least 3, not {self.max_length}")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "strips" if data == "strips" else "translate"
