"""Description of models for the page."""

from typing import Any

from saccade.engine.attention_groups import MasksTokens, PairRelevance
from saccade.engine.task import MasksPatches
from saccade.explorer.session import OpenModel


def describe_model(key: str, model: OpenModel) -> dict[str, Any]:
    """A model as JSON values, by its key in URLs."""
    predictor = model.predictor
    return {
        "key": key,
        "name": model.name,
        "architecture": predictor.source.architecture,
        "task": predictor.task.name,
        "parameters": sum(parameter.numel() for parameter in predictor.model.parameters()),
        "classes": len(predictor.labels),
        "masksPatches": isinstance(predictor.task, MasksPatches),
        "masksTokens": isinstance(predictor.task, MasksTokens),
        "readsTexts": not predictor.reads_images,
        "readsLabels": model.texts is not None,
    }


def describe_pair(pair: PairRelevance) -> dict[str, Any]:
    """The relevance of an image and a text as JSON values."""
    return {
        "cosine": pair.cosine,
        "patches": pair.patches.tolist(),
        "tokens": list(pair.tokens),
        "tokenValues": pair.token_values.tolist(),
    }
