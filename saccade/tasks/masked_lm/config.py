"""Options of a masked language modelling run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from saccade.config_io import Count, Fraction, Range
from saccade.errors import ConfigError

VocabularyKind = Literal["word", "char", "bpe", "byte"]
MaxLength = Annotated[int, Range(5, 2**20)]
MaskRatio = Annotated[float, Range(0, 1, above=True, below=True)]


@dataclass(frozen=True)
class MaskedLMConfig:
    """Options of tokenization and masking (Devlin et al., arXiv 1810.04805, section 3.1)."""

    vocabulary: VocabularyKind = "word"  # what a token is; learned from the training texts unless model.init brings one
    vocab_size: Count = 8000  # tokens at most
    max_length: MaxLength = 64  # tokens of a text at most, special ones included; longer texts are truncated
    mask_ratio: MaskRatio = 0.15  # fraction of the tokens that are selected for prediction
    mask_token: Fraction = 0.8  # fraction of the selected tokens that are replaced by [MASK]
    random_token: Fraction = 0.1  # fraction of them that are replaced by a random token; the others stay unchanged
    next_sentence: bool = False  # pairs of texts, and next-sentence prediction

    SUMMARY: ClassVar[str] = "masked words of texts"
    DATA: ClassVar[str] = 'a text file with one sentence per line and an empty line between documents; or "numbers"'
    LABELLED: ClassVar[bool] = False  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 1000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("bert", "perceiver_text")

    def __post_init__(self) -> None:
        if self.mask_token + self.random_token > 1:
            raise ConfigError(
                "the sum of masked_lm.mask_token and masked_lm.random_token must be at most 1, not "
                f"{self.mask_token} and {self.random_token}"
            )

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "words"

    @staticmethod
    def suits(path: str) -> bool:
        """Whether data at this path is for this task rather than for another one without labels."""
        return path == "numbers" or path.endswith(".txt")
