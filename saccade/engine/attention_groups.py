"""Names of the queries and keys of a model's attention, for pages and figures.

A task whose attention is over the tokens of an image only does not need this: the shapes determine the names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.nn.tokens import TokenLayout


@dataclass(frozen=True, eq=False)
class Axis:
    """The queries, or the keys, of attention.

    Attributes:
        name: their display name: "patches", "source", "object queries".
        tokens: the text of each token without a position in an image: every token of a text, or the prefix tokens of an
            image.
        layout: how the following tokens are arranged over the image; None if there are none.
        subset: the layout's tokens that the model reads, in its order, ``[V]``; None if it reads all.
        kind: tokens of the text that the model reads ("input") or generates ("output"); "units" of a model, such as its
            object queries; "patches" if there is a layout.
    """

    name: str
    tokens: tuple[str, ...] = ()
    layout: TokenLayout | None = None
    subset: Tensor | None = None
    kind: Literal["input", "output", "units", "patches"] = "units"

    def __len__(self) -> int:
        """Number of tokens; with a layout this includes tokens that the model does not read."""
        return len(self.tokens) if self.layout is None else self.layout.num_tokens

    @property
    def width(self) -> int:
        """Number of tokens that take part in the attention."""
        return len(self) if self.subset is None else len(self.subset)


@dataclass(frozen=True, eq=False)
class AttentionGroup:
    """Attention layers with the same queries and the same keys.

    Attributes:
        name: its name in URLs.
        title: its display title, in a few words.
        paths: module paths of the attention layers, with wildcards.
        queries: axis of the queries; in self-attention the same object as `keys`.
        keys: axis of the keys.
        taps: paths, with wildcards, of the layers that a head reads; () if it reads only the last one.
        first: the query that is shown first.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    queries: Axis
    keys: Axis
    taps: tuple[str, ...] = ()
    first: int = 0


@runtime_checkable
class NamesAttention(Protocol):
    """A task that names the queries and keys of its models' attention."""

    def attention_groups(self, model: nn.Module, outputs: Any, batch: Batch) -> Sequence[AttentionGroup]:
        """The groups of the run on a batch of one input, starting with the one to show first; empty if the shapes of
        the weights determine them.

        Args:
            model: the model that ran.
            outputs: output of :meth:`Task.eval_step`.
            batch: a batch of one input.
        """
        ...


@runtime_checkable
class PredictsInSteps(Protocol):
    """A task whose prediction takes many passes through the model, each on the previous prediction."""

    def whole_pass(self, model: nn.Module, outputs: Any, batch: Batch) -> None:
        """Run the model once on an input and its complete prediction, so that a recording contains every attention
        once."""
        ...


@runtime_checkable
class MasksTokens(Protocol):
    """A task whose predictions are those of masked tokens of a text."""

    def text_batch(self, texts: Sequence[str], names: Sequence[str]) -> Batch:
        """Texts, with or without masked tokens, as a batch."""
        ...

    def with_masked_tokens(self, batch: Batch, masked: Tensor) -> Batch:
        """A batch with some more tokens masked, ``[B, L]`` boolean.

        Raises:
            ConfigError: one is a special token, which is never masked.
        """
        ...


@dataclass(frozen=True, eq=False)
class PairRelevance:
    """Relevance for the similarity of an image and a text.

    Attributes:
        cosine: their cosine similarity.
        patches: relevance of the image's patches, non-negative, ``[N]``.
        tokens: of the text.
        token_values: relevance of the text's tokens, non-negative, ``[L]``.
    """

    cosine: float
    patches: Tensor
    tokens: tuple[str, ...]
    token_values: Tensor


@runtime_checkable
class ReadsTexts(Protocol):
    """The text side of an image-text model, with its tokenizer."""

    def scores(self, images: Tensor, labels: Sequence[str]) -> Tensor:
        """Images ``[B, C, H, W]`` and K labels -> the probability of each label, ``[B, K]``."""
        ...

    def read(self, text: str) -> Sequence[AttentionGroup]:
        """Run the model on a text alone: the groups of that run."""
        ...

    def relevance(self, image: Tensor, text: str, budget: int) -> PairRelevance:
        """Relevance for the similarity of an image ``[1, C, H, W]`` and a text; the recording takes at most `budget`
        bytes."""
        ...
