"""Options of a sequence-to-sequence run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from saccade.config_io import Count, Part, Range

VocabularyKind = Literal["word", "char", "bpe", "byte"]
MaxLength = Annotated[int, Range(3, 2**20)]


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Options of tokenization and loss."""

    vocabulary: VocabularyKind = "word"  # what a token is; learned from the training texts, one for source and target
    vocab_size: Count = 8000  # tokens at most
    max_length: MaxLength = 64  # tokens of a text at most, special ones included; longer texts are truncated
    label_smoothing: Part = 0.0  # fraction of the target that is spread evenly over the vocabulary

    SUMMARY: ClassVar[str] = "a text for a text or an image"
    DATA: ClassVar[str] = 'a TSV, CSV or JSONL of source,target, or "numbers"; images and captions, or "strips"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 1000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("seq2seq", "image_to_text")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "strips" if data == "strips" else "translate"
