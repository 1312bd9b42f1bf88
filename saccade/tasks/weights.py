"""Costs and weights of losses, as a run's config has them. Loads no torch."""

from dataclasses import dataclass
from typing import Literal

DepthLoss = Literal["ssi", "silog", "l1"]
Alignment = Literal["none", "scale", "scale-shift"]


@dataclass(frozen=True)
class DepthWeights:
    """How depth is learned and measured.

    Attributes:
        loss: "silog" for metres, up to a part of their common scale (Eigen et al., arXiv 1406.2283); "l1" for metres;
            "ssi" for the inverse of depth up to scale and shift (Ranftl et al., arXiv 1907.01341), for data whose scale
            nobody knows.
        gradient_weight: of the differences between neighbours, at four sizes, in the ssi loss.
        alignment: what is fitted to the truth before measuring: nothing, a factor, or a factor and a shift of the
            inverse depth; with "ssi" always the last.
    """

    loss: DepthLoss = "silog"
    gradient_weight: float = 0.5
    alignment: Alignment = "none"


@dataclass(frozen=True)
class SegmentationWeights:
    """How segmentation is learned: `aux` is the weight of the second head's loss."""

    aux: float = 0.2


@dataclass(frozen=True)
class ContrastTexts:
    """How a model of images and texts reads.

    Attributes:
        vocabulary: a folder or file of byte pairs; "openai" for OpenAI's, from an installed package; "" for the one of
            `model.init`, else one learned from the captions to train on.
        vocab_size: tokens of one that is learned; 514 are bytes and marks.
        context_length: tokens of a text; longer ones are cut.
        texts: captions that an image brings to each step; its vector is computed once for all of them.
    """

    vocabulary: str = ""
    vocab_size: int = 1024
    context_length: int = 48
    texts: int = 1


VocabularyKind = Literal["word", "char", "bpe", "byte"]


@dataclass(frozen=True)
class TranslationTexts:
    """How a model that writes reads and writes.

    Attributes:
        vocabulary: what is learned from the texts to train on, one for source and target.
        vocab_size: most words of it.
        length: tokens of a text with its marks; longer ones are cut.
    """

    vocabulary: VocabularyKind = "word"
    vocab_size: int = 8000
    length: int = 64


@dataclass(frozen=True)
class HiddenWords:
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


@dataclass(frozen=True)
class DetectionWeights:
    """The original's costs and weights.

    Attributes:
        class_cost, box_cost, giou_cost: in the pairing.
        class_weight, box_weight, giou_weight: in the loss.
        no_object: weight of the class of a query that has no object.
        aux: whether every decoder block is asked, not only the last.
        aux_repeats: queries that each object is paired with in earlier blocks; more than one gives the backbone more
            to learn from where images are few (Jia et al., arXiv 2207.13080).
        mask_weight, dice_weight: of masks, in the loss of a detector that has a mask head.
    """

    class_cost: float = 1.0
    box_cost: float = 5.0
    giou_cost: float = 2.0
    class_weight: float = 1.0
    box_weight: float = 5.0
    giou_weight: float = 2.0
    no_object: float = 0.1
    aux: bool = True
    aux_repeats: int = 1
    mask_weight: float = 1.0
    dice_weight: float = 1.0
