"""Options of a masked language modelling run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

VocabularyKind = Literal["word", "char", "bpe", "byte"]


@dataclass(frozen=True)
class MaskedLMConfig:
    """What is hidden of texts, and how they are read.

    Attributes:
        vocabulary: what is learned from the texts to train on, unless `model.init` brings one.
        vocab_size: most words of it.
        length: tokens of a text with its marks; longer ones are cut.
        share: of the tokens that are asked for.
        masked, random: shares of those that become [MASK], and any word; the rest stays as it is.
        next_sentence: whether texts come in pairs, and it is asked whether the second follows the first.
    """

    vocabulary: VocabularyKind = "word"
    vocab_size: int = 8000
    length: int = 64
    share: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    next_sentence: bool = False

    SUMMARY: ClassVar[str] = "masked words of texts"
    DATA: ClassVar[str] = 'a text file, a sentence a line, an empty line between documents; or "numbers"'
    LABELLED: ClassVar[bool] = False  # `saccade pretrain` trains the tasks without labels
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("bert", "perceiver_text")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "words"

    @staticmethod
    def suits(path: str) -> bool:
        """Whether data at this path is for this task rather than for another one without labels."""
        return path == "numbers" or path.endswith(".txt")
