"""Every analysis on every family: what runs, and what is refused with a sentence that names what to do instead."""

from collections.abc import Callable
from typing import Any

import numpy as np

from saccade.analysis.attention_distance import measure_attention_distance
from saccade.analysis.attention_views import attention_view
from saccade.analysis.image_maps import Method, image_map
from saccade.analysis.inputs import ImageBatches, require_images
from saccade.analysis.logit_lens import logit_lens
from saccade.analysis.points import point_attention
from saccade.analysis.position_similarity import measure_positions
from saccade.analysis.receptive_field import receptive_field
from saccade.analysis.similarity import layer_similarity
from saccade.analysis.token_maps import TOKEN_METHODS, maps_of_words
from saccade.analysis.token_norms import token_norms
from saccade.analysis.token_pca import token_colours
from saccade.engine.predictor import Predictor
from saccade.tasks import table
from tests.analysis.families import FAMILIES, Family, image
from tests.opens.tables import Table

POINT = (0.3, 0.6)


def value_of(family: Family) -> Any:
    """Its input."""
    return family.text if family.size is None else image(64)


def batches(predictor: Predictor) -> ImageBatches:
    """Four images in a batch."""
    require_images(predictor)
    images = [np.rot90(image(64), turns).copy() for turns in range(4)]
    prepared, sizes = zip(*(predictor.read(one) for one in images))
    return ImageBatches([predictor.task.input_batch(prepared, sizes, list("abcd"))], 4, "")


def map_of(method: Method) -> Callable[[Predictor, Family], object]:
    """As `saccade analyze METHOD` chooses between maps of words and of images."""

    def run(predictor: Predictor, family: Family) -> object:
        value = value_of(family)
        text = family.text if family.size is not None else None
        report = table.report(predictor.task.name)
        if text is not None and method not in TOKEN_METHODS:
            return image_map(report.classifier(predictor, [text]), value, method)
        reading = report.reading(predictor, value, text)
        if reading is not None:
            return maps_of_words(predictor, reading, method)
        query = 0 if family.task == "detection" and method not in ("occlusion",) else None
        point = POINT if family.task == "depth" and method in ("relevance", "grad-cam", "attnlrp") else None
        return image_map(predictor, value, method, query=query, point=point)

    return run


ANALYSES: dict[str, Callable[[Predictor, Family], object]] = {
    "distance": lambda predictor, family: measure_attention_distance(predictor, batches(predictor)),
    "attention": map_of("attention"),
    "attention, --point": lambda predictor, family: (
        attention_view(predictor, value_of(family), query=POINT),
        point_attention(predictor, value_of(family), POINT),
    ),
    "rollout": map_of("rollout"),
    "flow": map_of("flow"),
    "relevance": map_of("relevance"),
    "grad-cam": map_of("grad-cam"),
    "attnlrp": map_of("attnlrp"),
    "occlusion map": map_of("occlusion"),
    "positions": lambda predictor, family: measure_positions(predictor.model, None),
    "token-pca": lambda predictor, family: token_colours(predictor, [value_of(family)], layer=0),
    "cka": lambda predictor, family: layer_similarity(predictor, None, batches(predictor)),
    "norms": lambda predictor, family: token_norms(predictor, batches(predictor)),
    "lens": lambda predictor, family: logit_lens(predictor, batches(predictor)),
    "field": lambda predictor, family: receptive_field(predictor, batches(predictor)),
}

WITHOUT_ATTENTION = dict.fromkeys(("yolo", "convnet"), "grad-cam")
TEXTS = dict.fromkeys(("seq2seq", "bert", "bytes"), "of texts there are attention, rollout, flow and relevance")
WORDS = dict.fromkeys(("image_to_text", *TEXTS), "maps of words are attention, rollout, flow, relevance")
WITHOUT_CLASSES = {"mae": "use rollout"}
ONE_CLASS = dict.fromkeys(("detr", "yolo", "depth", "segmentation"), "use relevance or grad-cam")
PLACES = dict.fromkeys(("local", "axial", "yolo", "convnet"), "shift and shuffle")
MAPS = dict.fromkeys(("local", "axial", "yolo", "convnet"), "cka")
MEAN = dict.fromkeys(("mean", "local", "axial", "depth", "segmentation"), "use rollout")
LATENTS = {"perceiver": "use .*rollout"}

# analysis -> family -> what stands in the sentence that refuses it: what works instead
REFUSALS: dict[str, dict[str, str]] = {
    "distance": {**WITHOUT_ATTENTION, **TEXTS, **LATENTS},
    "attention": WITHOUT_ATTENTION,
    "attention, --point": {**WITHOUT_ATTENTION, **TEXTS, "perceiver": "choose another query"},
    "rollout": WITHOUT_ATTENTION,
    "flow": {**WITHOUT_ATTENTION, **MEAN},
    "relevance": {**WITHOUT_ATTENTION, **WITHOUT_CLASSES},
    "grad-cam": {**WORDS, **WITHOUT_CLASSES, "perceiver": "use relevance"},
    "attnlrp": {**WITHOUT_ATTENTION, **WORDS, **WITHOUT_CLASSES, "local": "grad-cam", "axial": "grad-cam"},
    "occlusion map": {**WORDS, **WITHOUT_CLASSES, **ONE_CLASS},
    "positions": {**PLACES, "perceiver": "shift and shuffle"},
    "token-pca": {**TEXTS, **LATENTS},
    "cka": {**TEXTS, **LATENTS},
    "norms": {**TEXTS, **LATENTS, **MAPS},
    "lens": {
        **TEXTS, **LATENTS, **MAPS,
        **dict.fromkeys(("mae", "detr", "depth", "segmentation", "clip", "image_to_text"), "cka"),
    },
    "field": {**TEXTS, **LATENTS},
}  # fmt: skip
# the option that a map needs, or by which a family has more maps than one
OPTIONS = {
    **{("detr", name): "`--query`" for name in ("attention", "rollout", "flow", "relevance", "grad-cam", "attnlrp")},
    ("yolo", "grad-cam"): "`--query`",
    **{("depth", name): "`--point`" for name in ("relevance", "grad-cam", "attnlrp")},
    **{("segmentation", name): "✓ `--point`" for name in ("relevance", "grad-cam", "attnlrp")},
    **{("clip", name): "✓ `--text`" for name in ("attention", "rollout", "flow")},
    **{("clip", name): "`--text`" for name in ("relevance", "grad-cam", "attnlrp", "occlusion map")},
    **{(name, "flow"): "`--point`" for name in ("mean", "depth", "segmentation")},
}


def cell(family: str, analysis: str) -> str:
    """What the table has for an analysis of a family."""
    if (family, analysis) in OPTIONS:
        return OPTIONS[family, analysis]
    return "–" if family in REFUSALS[analysis] else "✓"


def tables() -> list[Table]:
    """That of docs/analysis.md."""
    header = ("", *ANALYSES)
    rows = [(family.title, *(cell(name, analysis) for analysis in ANALYSES)) for name, family in FAMILIES.items()]
    return [Table("analysis.md", "families", header, rows)]
