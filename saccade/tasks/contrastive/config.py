"""Options of a contrastive run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from saccade.config_io import Count


@dataclass(frozen=True)
class ContrastiveConfig:
    """The tokenizer of a model of images and texts, and the captions of a step.

    Attributes:
        vocabulary: a folder or file of a byte-pair encoding; "openai" for OpenAI's, from an installed package; "" for
            the one of `model.init`, else one learned from the captions of the training split.
        vocab_size: tokens of a learned one; 514 of them are bytes and special tokens.
        context_length: tokens of a text; longer texts are truncated.
        texts: captions of an image in each step; the image is embedded once for all of them.
        loss: "softmax" over the texts of each image and the images of each text (CLIP), or "sigmoid" of each pair, with
            a learned bias (SigLIP); "" for that of the model, which is softmax for the models named clip.
    """

    vocabulary: str = ""
    vocab_size: Count = 1024
    context_length: Count = 48
    texts: Count = 1
    loss: Literal["", "softmax", "sigmoid"] = ""

    SUMMARY: ClassVar[str] = "matching of images and captions"
    DATA: ClassVar[str] = 'a CSV or JSONL of image,caption, captions of COCO, tar shards, or "scenes"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 1000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("clip",)

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "contrast"
