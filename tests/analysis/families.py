"""A small model of every family, with random weights that are large enough for gradients, and an input for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch

import saccade
from saccade.checkpoints.directory import LoadedModel
from saccade.data.preprocessing import Preprocessing
from saccade.data.tokenizer import Tokenizer
from saccade.data.vocabulary import Vocabulary
from saccade.engine.images import fresh_preprocessing
from saccade.engine.predictor import Predictor
from saccade.models.model import Model
from saccade.models.zoo import architecture_of
from saccade.nn.attention import MultiHeadAttention
from saccade.tasks.detection.setup import detector_preprocessing
from saccade.tasks.loading import predictor_of

TEXTS = ["two hundred and one", "forty two and seven", "one hundred and two", "seven"]
BLOCK = {"block.embed_dim": 32, "block.num_heads": 2, "block.mlp_dim": 32}
SMALL_VIT = {**BLOCK, "depth": 2, "patch_size": [8, 8]}
BACKBONE = {f"backbone_config.{name}": value for name, value in BLOCK.items()}
TEXT = {f"text.{name}": value for name, value in {**BLOCK, "depth": 2, "context_length": 12}.items()}


@dataclass(frozen=True)
class Family:
    """How one is built.

    Attributes:
        title: in the documentation.
        model: of the catalogue, made small by `options`.
        task: that it is for.
        size: side of its image; None of a model of texts.
        classes: that it has.
        text: its input, or what stands beside its image.
    """

    title: str
    model: str
    task: str
    size: int | None
    options: Mapping[str, Any]
    classes: int = 0
    text: str | None = None


MEAN = {**SMALL_VIT, "pooling": "mean"}
CLIP = {**TEXT, **BACKBONE, "backbone_config.depth": 2, "backbone_config.patch_size": [8, 8], "embed_dim": 16}
LOCAL = {"depths": [1, 1, 1, 1], "window": 3}
AXIAL = {"depths": [1, 1, 1, 1]}
DETR = {"num_queries": 5, "encoder_depth": 2, "decoder_depth": 2}
SEQ2SEQ, BERT = {**BLOCK, "context_length": 10}, {**BLOCK, "depth": 2, "context_length": 16}

FAMILIES: dict[str, Family] = {
    "vit": Family("ViT", "vit_ti16", "classification", 32, SMALL_VIT, 3),
    "mean": Family("ViT, mean of the patches", "vit_ti16", "classification", 32, MEAN, 3),
    "deit": Family("DeiT", "deit_ti16", "classification", 32, SMALL_VIT, 3),
    "hybrid": Family("hybrid", "hybrid_r_ti16", "classification", 64, {**BLOCK, "depth": 2}, 3),
    "mae": Family("MAE", "mae_digits", "masked_image", 8, {}),
    "local": Family("local attention", "local_resnet26", "classification", 32, LOCAL, 3),
    "axial": Family("axial attention", "axial_resnet26_s", "classification", 32, AXIAL, 3),
    "perceiver": Family("Perceiver", "perceiver_digits", "classification", 8, {}, 3),
    "detr": Family("DETR", "detr_small", "detection", 64, DETR, 3),
    "yolo": Family("one-stage detector on a ConvNet", "yolo_small", "detection", 64, {}, 3),
    "depth": Family("DPT, depth", "dpt_small", "depth", 64, {}),
    "segmentation": Family("DPT, segmentation", "dpt_small_seg", "segmentation", 64, {}, 3),
    "dpt_hybrid": Family("DPT on a hybrid, segmentation", "dpt_small_hybrid_seg", "segmentation", 64, {}, 3),
    "clip": Family("CLIP", "clip_ti16", "contrastive", 32, CLIP, text="seven and one"),
    "clip_convnet": Family("CLIP on a ConvNet", "clip_small", "contrastive", 64, TEXT, text="seven and one"),
    "image_to_text": Family("image to text", "image_to_text_strips", "seq2seq", 16, {"context_length": 6}),
    "seq2seq": Family("encoder-decoder of texts", "seq2seq_small", "seq2seq", None, SEQ2SEQ, text="forty two"),
    "bert": Family("BERT", "bert_small", "masked_lm", None, BERT, text="one [MASK] and two"),
    "bytes": Family("Perceiver of bytes", "perceiver_text_small", "masked_lm", None, {}, text="one [MASK]wo"),
    "convnet": Family("ConvNet", "resnet18_small", "classification", 32, {"width": 8}, 3),
}


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.train(TEXTS)


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, vocab_size=540, context_length=12)


def build(name: str, size: int | None = None) -> Predictor:
    """A predictor of a family, for images of another size if one is given."""
    family = FAMILIES[name]
    torch.manual_seed(0)
    options, files = dict(family.options), dict[str, bytes]()
    if family.task in ("seq2seq", "masked_lm") and name != "bytes":
        options["vocab_size"], files = vocabulary().size, vocabulary().files()
    if family.task == "contrastive":
        options["text.vocab_size"], files = tokenizer().vocab_size, tokenizer().files()
    side = family.size if size is None else size
    sizes = {} if side is None else {"image_size": side}
    net = saccade.create(family.model, num_classes=family.classes, options=options, **sizes).eval()
    liven(net)
    labels = ("a", "b", "c")[: family.classes]
    preprocessing, architecture = _preprocessing(net, family), architecture_of(family.model)
    return predictor_of(LoadedModel(net, architecture, labels, preprocessing, task=family.task, vocabulary=files))


def _preprocessing(net: Model, family: Family) -> Preprocessing | None:
    if family.size is None:
        return None
    return detector_preprocessing(net) if family.task == "detection" else fresh_preprocessing(net)


@torch.no_grad()
def liven(net: Model) -> None:
    """Larger weights than fresh ones, and no branch that starts as nothing."""
    for path, parameter in net.named_parameters():
        if parameter.ndim == 1 and path.endswith("weight"):
            parameter.fill_(1.0)
        elif parameter.ndim == 2:
            parameter.copy_(torch.randn(parameter.shape) * 1.5 / parameter.shape[-1] ** 0.5)


def image(side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)


def even(net: Model) -> None:
    """Attention of every query to all its keys alike: queries are 0."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, MultiHeadAttention):
                linear, rows = (module.qkv, module.key_dim) if module.packed else (module.q, module.key_dim)
                linear.weight[:rows].zero_()
                if linear.bias is not None:
                    linear.bias[:rows].zero_()
