"""What the attention of a task's model is over: the contract by which a page or a figure names queries and keys.

A task whose attention is all over the tokens of an image needs none of this: its shapes show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from saccade.data.samples import Batch
from saccade.nn.tokens import TokenLayout


@dataclass(frozen=True, eq=False)
class Axis:
    """What the queries, or the keys, of attention are.

    Attributes:
        name: of all of them, for people: "patches", "source", "object queries".
        tokens: the text of each token that has no place in an image: every token of a text, the prefix tokens of an
            image.
        layout: how the tokens behind these lie over the image; None where none does.
        subset: the layout's tokens that the model reads, in its order, ``[V]``; None where it reads all.
        kind: tokens of the text that the model reads ("input") or generates ("output"); "units" of a model, such as its
            object queries; "patches" where there is a layout.
    """

    name: str
    tokens: tuple[str, ...] = ()
    layout: TokenLayout | None = None
    subset: Tensor | None = None
    kind: Literal["input", "output", "units", "patches"] = "units"

    def __len__(self) -> int:
        """Of the layout where there is one: of all its tokens, also those that the model does not read."""
        return len(self.tokens) if self.layout is None else self.layout.num_tokens

    @property
    def width(self) -> int:
        """The tokens that take part in the attention."""
        return len(self) if self.subset is None else len(self.subset)


@dataclass(frozen=True, eq=False)
class AttentionGroup:
    """Attentions, one a layer, with the same queries and the same keys.

    Attributes:
        name: in addresses.
        title: for people, in a few words.
        paths: of the attentions in the model, with wildcards.
        queries: one axis for both, the same object, in self-attention.
        keys: see `queries`.
        taps: paths, with wildcards, of the layers that a head reads; () where that is the last alone.
        first: the query that is looked at first.
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
    """A task that names what the attention of its models is over."""

    def attention_groups(self, model: nn.Module, outputs: Any, batch: Batch) -> Sequence[AttentionGroup]:
        """The groups of the run on a batch of one input, the one to look at first in front; none where the shapes of
        the weights show them.

        Args:
            model: that ran.
            outputs: of :meth:`Task.eval_step`.
            batch: of one input.
        """
        ...


@runtime_checkable
class PredictsInSteps(Protocol):
    """A task whose prediction takes many passes through the model, each on what the last one predicted."""

    def whole_pass(self, model: nn.Module, outputs: Any, batch: Batch) -> None:
        """Run the model once on an input and all that was predicted for it, so that a recording holds every attention
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
    """What speaks for the similarity of an image and a text.

    Attributes:
        cosine: of the two.
        patches: of the image, not negative, ``[N]``.
        tokens: of the text.
        token_values: of the text, not negative, ``[L]``.
    """

    cosine: float
    patches: Tensor
    tokens: tuple[str, ...]
    token_values: Tensor


@runtime_checkable
class ReadsTexts(Protocol):
    """The part of a model of images and texts that reads a text, with its tokenizer."""

    def scores(self, images: Tensor, labels: Sequence[str]) -> Tensor:
        """Images ``[B, C, H, W]`` and K labels -> the probability of each label, ``[B, K]``."""
        ...

    def read(self, text: str) -> Sequence[AttentionGroup]:
        """Run the model on a text alone: the groups of that run."""
        ...

    def relevance(self, image: Tensor, text: str, budget: int) -> PairRelevance:
        """What speaks for the similarity of an image ``[1, C, H, W]`` and a text; a recording takes at most `budget`
        bytes."""
        ...
