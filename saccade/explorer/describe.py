"""What the page shows of a model."""

from typing import Any

from saccade.engine.predictor import Predictor


def describe_model(key: str, name: str, predictor: Predictor) -> dict[str, Any]:
    """As JSON holds it.

    Args:
        key: of the model in addresses.
        name: under which it was opened.
        predictor: the model.
    """
    parameters = sum(parameter.numel() for parameter in predictor.model.parameters())
    return {
        "key": key,
        "name": name,
        "architecture": predictor.source.architecture,
        "task": predictor.task.name,
        "parameters": parameters,
        "classes": len(predictor.labels),
    }
