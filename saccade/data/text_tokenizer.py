"""What the tokenizers of models of images and texts share, and the package that they are made of.

T texts, L tokens of a text.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.deferred import Deferred
from saccade.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

torch = Deferred("torch")  # for those who take tensors
LIBRARY_ERROR = Exception


class TextTokenizer(ABC):
    """Texts as token ids: ``tokenizer(["a photo of a cat"])`` -> ``[T, L]``.

    Attributes:
        inner: a `tokenizers.Tokenizer`.
        context_length: L; longer texts are truncated, before their end token.
        may_be_smaller: whether a model may have more embeddings than the vocabulary has tokens.
    """

    inner: Any
    context_length: int
    may_be_smaller = False

    @property
    def vocab_size(self) -> int:
        return self.inner.get_vocab_size()

    def __call__(self, texts: str | Sequence[str]) -> "Tensor":
        """Token ids ``[T, L]`` int64, padded."""
        return torch.from_numpy(self.ids([texts] if isinstance(texts, str) else texts))

    @abstractmethod
    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """The same as an array of NumPy."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids ``[L]``, without special tokens."""

    @abstractmethod
    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The token of each id, for display."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """The files of the vocabulary, by name."""


@contextmanager
def library_errors(place: str) -> Iterator[None]:
    """Raise DataError for the errors of the `tokenizers` package, which has no class of its own for them."""
    try:
        yield
    except LIBRARY_ERROR as error:
        if type(error) is not LIBRARY_ERROR:
            raise
        raise DataError(f"{place} is invalid: {' '.join(str(error).split())}") from None


def tokenizers_library() -> Any:
    """The `tokenizers` package; raises DataError if it is not installed."""
    try:
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers  # noqa: F401
    except ImportError:
        raise DataError("texts need extra packages: pip install saccade[text]") from None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # texts are short, and loaders fork
    return tokenizers
