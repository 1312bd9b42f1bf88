"""Every analysis on every family: what runs, and what is refused with a sentence that names what to do instead."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from saccade.analysis.activations import activations
from saccade.analysis.attention_distance import measure_attention_distance
from saccade.analysis.attention_views import attention_view
from saccade.analysis.faithfulness import faithfulness
from saccade.analysis.image_maps import Method, image_map
from saccade.analysis.importance import measure_dependence
from saccade.analysis.inputs import ImageBatches, require_images
from saccade.analysis.logit_lens import logit_lens
from saccade.analysis.patch_filters import first_filters
from saccade.analysis.perturbations import perturbation_curve
from saccade.analysis.points import point_attention
from saccade.analysis.position_similarity import measure_positions
from saccade.analysis.receptive_field import receptive_field
from saccade.analysis.rise import RiseMasks
from saccade.analysis.robustness import robustness
from saccade.analysis.sanity import sanity_check
from saccade.analysis.similarity import layer_similarity
from saccade.analysis.token_maps import TOKEN_METHODS, maps_of_words
from saccade.analysis.token_norms import token_norms
from saccade.analysis.token_pca import token_colours
from saccade.cli.analyses.believe import default_methods
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


def one_image(predictor: Predictor) -> ImageBatches:
    require_images(predictor)
    prepared, size = predictor.read(image(64))
    return ImageBatches([predictor.task.input_batch([prepared], [size], ["a"])], 1, "")


def labelled(predictor: Predictor) -> ImageBatches:
    """The same four images with classes."""
    (batch,) = batches(predictor).batches
    return ImageBatches([batch._replace(labels=torch.arange(4) % 3)], 4, "", torch.arange(3))


def classifier(predictor: Predictor, family: Family) -> Predictor:
    """The model; a CLIP with two texts as its classes."""
    if family.task != "contrastive":
        return predictor
    return table.report(predictor.task.name).classifier(predictor, ["seven", "one"])


def map_of(method: Method) -> Callable[[Predictor, Family], object]:
    """As `saccade analyze METHOD` chooses between maps of words and of images."""

    def run(predictor: Predictor, family: Family) -> object:
        value, masks = value_of(family), RiseMasks(4) if method == "rise" else None
        text = family.text if family.size is not None else None
        report = table.report(predictor.task.name)
        if text is not None and method not in TOKEN_METHODS:
            return image_map(classifier(predictor, family), value, method, masks=masks)
        reading = report.reading(predictor, value, text)
        if reading is not None:
            return maps_of_words(predictor, reading, method)
        query = 0 if family.task == "detection" and method not in ("occlusion", "rise") else None
        point = POINT if family.task == "depth" and method in ("relevance", "grad-cam", "attnlrp") else None
        return image_map(predictor, value, method, query=query, point=point, masks=masks)

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
    "activations": lambda predictor, family: activations(predictor, value_of(family)),
    "filters": lambda predictor, family: first_filters(predictor.model),
    "rise": map_of("rise"),
    "shift": lambda predictor, family: perturbation_curve(predictor, batches(predictor), "shift", [2]),
    "heads": lambda predictor, family: measure_dependence(predictor, one_image(predictor)),
    "robustness": lambda predictor, family: robustness(predictor, labelled(predictor), corruptions=["fog"]),
    "faithfulness": lambda predictor, family: faithfulness(
        (reader := classifier(predictor, family)), one_image(predictor), default_methods(reader)[:1], steps=2
    ),
    "sanity": lambda predictor, family: sanity_check(
        predictor, value_of(family), default_methods(predictor)[-1:], point=POINT if family.task == "depth" else None
    ),
}

WITHOUT_ATTENTION = dict.fromkeys(("yolo", "convnet"), "grad-cam, or the analyses field and activations")
CONVNET_CLIP = {"clip_convnet": "use the analyses field and activations"}
TEXTS = dict.fromkeys(("seq2seq", "bert", "bytes"), "of texts there are attention, rollout, flow and relevance")
WORDS = dict.fromkeys(("image_to_text", *TEXTS), "maps of words are attention, rollout, flow, relevance")
WITHOUT_CLASSES = {"mae": "use rollout"}
DPTS = ("depth", "segmentation", "dpt_hybrid")
ONE_CLASS = dict.fromkeys(("detr", "yolo", *DPTS), "use grad-cam for a box")
PLACES = dict.fromkeys(("local", "axial", "yolo", "convnet", "clip_convnet"), "shift and shuffle")
MAPS = dict.fromkeys(("local", "axial", "yolo", "convnet", "clip_convnet"), "cka")
MEAN = dict.fromkeys(("mean", "local", "axial", *DPTS), "use rollout")
LATENTS = {"perceiver": "use .*rollout"}

# analysis -> family -> what stands in the sentence that refuses it: what works instead
REFUSALS: dict[str, dict[str, str]] = {
    "distance": {**WITHOUT_ATTENTION, **CONVNET_CLIP, **TEXTS, **LATENTS},
    "attention": WITHOUT_ATTENTION,
    "attention, --point": {**WITHOUT_ATTENTION, **CONVNET_CLIP, **TEXTS, "perceiver": "choose another query"},
    "rollout": WITHOUT_ATTENTION,
    "flow": {**WITHOUT_ATTENTION, **MEAN},
    "relevance": {**WITHOUT_ATTENTION, **WITHOUT_CLASSES},
    "grad-cam": {**WORDS, **WITHOUT_CLASSES, "perceiver": "use relevance"},
    "attnlrp": {
        **dict.fromkeys((*WITHOUT_ATTENTION, *CONVNET_CLIP, "local", "axial"), "grad-cam"),
        **WORDS, **WITHOUT_CLASSES,
    },
    "occlusion map": {**WORDS, **WITHOUT_CLASSES, **ONE_CLASS},
    "positions": {**PLACES, "perceiver": "shift and shuffle"},
    "token-pca": {**TEXTS, **LATENTS},
    "cka": {**TEXTS, **LATENTS},
    "norms": {**TEXTS, **LATENTS, **MAPS},
    "lens": {
        **TEXTS, **LATENTS, **MAPS,
        **dict.fromkeys(("mae", "detr", *DPTS, "clip", "clip_convnet", "image_to_text"), "cka"),
    },
    "field": {**TEXTS, **LATENTS},
    "activations": {**TEXTS, **LATENTS},
    "filters": {**dict.fromkeys(TEXTS, "use relevance"), "perceiver": "use relevance"},
    "rise": {**WORDS, **WITHOUT_CLASSES, **ONE_CLASS},
    "shift": TEXTS,
    "heads": {**WITHOUT_ATTENTION, **CONVNET_CLIP, **TEXTS},
    "robustness": {
        **TEXTS, **dict.fromkeys((*ONE_CLASS, "mae", "image_to_text"), "saccade evaluate"),
        "clip": "--text", "clip_convnet": "--text",
    },
    "faithfulness": {**TEXTS, **dict.fromkeys((*ONE_CLASS, "mae", "image_to_text"), "the analysis sanity")},
    "sanity": {**CONVNET_CLIP, **TEXTS},
}  # fmt: skip
# the option that a map needs, or by which a family has more maps than one
OPTIONS = {
    **{("detr", name): "`--query`" for name in ("attention", "rollout", "flow", "relevance", "grad-cam", "attnlrp")},
    ("yolo", "grad-cam"): "`--query`",
    **{("depth", name): "`--point`" for name in ("relevance", "grad-cam", "attnlrp")},
    **{
        (dpt, name): "✓ `--point`"
        for dpt in ("segmentation", "dpt_hybrid")
        for name in ("relevance", "grad-cam", "attnlrp")
    },
    **{("clip", name): "✓ `--text`" for name in ("attention", "rollout", "flow")},
    **{("clip_convnet", name): "`--text`" for name in ("attention", "rollout", "flow", "sanity")},
    **{
        (clip, name): "`--text`"
        for clip in ("clip", "clip_convnet")
        for name in ("relevance", "grad-cam", "attnlrp", "occlusion map", "rise", "faithfulness", "robustness")
        if (clip, name) != ("clip_convnet", "attnlrp")
    },
    ("depth", "sanity"): "`--point`",
    **{(name, "heads"): "✓ with targets" for name in TEXTS},
    **{(name, "flow"): "`--point`" for name in ("mean", *DPTS)},
}


SAME_AS = {"shuffle": "shift", "occlusion": "shift", "integrated-gradients": "occlusion map"}  # run where these do
OTHERWISE = ("--text", "--image-size", "another query", "saccade evaluate", "saccade probe")


def alternatives(message: str) -> set[str]:
    """The analyses that a refusal names as what to use instead: those behind its last colon, semicolon or "use"."""
    words = re.split(r"[;:]| use ", message)[-1]
    names = [name for name in (*ANALYSES, *SAME_AS) if re.search(rf"(?<![\w-]){name}(?![\w-])", words)]
    return {SAME_AS.get(name, name) for name in names}


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
