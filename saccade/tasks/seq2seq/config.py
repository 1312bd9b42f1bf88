"""Options of a sequence-to-sequence run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

VocabularyKind = Literal["word", "char", "bpe", "byte"]


@dataclass(frozen=True)
class Seq2SeqConfig:
    """How a model that writes reads and writes.

    Attributes:
        vocabulary: what is learned from the texts to train on, one for source and target.
        vocab_size: most words of it.
        length: tokens of a text with its marks; longer ones are cut.
    """

    vocabulary: VocabularyKind = "word"
    vocab_size: int = 8000
    length: int = 64
    label_smoothing: float = 0.0

    SUMMARY: ClassVar[str] = "a text for a text or an image"
    DATA: ClassVar[str] = 'a TSV, CSV or JSONL of source,target, or "numbers"; images and captions, or "strips"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("seq2seq", "image_to_text")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "strips" if data == "strips" else "translate"
