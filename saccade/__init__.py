"""Saccade, the vision-transformer toolkit: train, look inside, compare and ship.

    import saccade
    net = saccade.create("vit_ti16", num_classes=10)      # an nn.Module: images [B, 3, H, W] -> logits [B, 10]
    predictor = saccade.load("runs/digits")               # a model directory, a run or any published file
    with saccade.record(net) as trace:                    # the exact weights of every attention layer
        net(images)
    trace.show()                                          # in a notebook: hover a patch, see what it attends to
    saccade.evaluate(predictor, "photos").metrics         # on data with targets
    saccade.explain(predictor, "cat.jpg").figure          # what it attends to
    saccade.save(predictor, "model")                      # a model directory
    saccade.optimize(predictor)                           # the fastest exact way to run it here

docs/python.md lists everything.

The names below load their modules, and torch with them, when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from saccade.version import __version__

if TYPE_CHECKING:
    from saccade.analysis.intervention import intervene
    from saccade.api import evaluate, explain, export, save
    from saccade.checkpoints.convert import convert
    from saccade.engine.predictor import Predictor
    from saccade.explorer.notebook import show, show_images, show_texts
    from saccade.explorer.recorder import record
    from saccade.inference.optimize import optimize
    from saccade.inference.token_merging import merge_tokens
    from saccade.models.zoo import create, list_models
    from saccade.runs import train
    from saccade.tasks.loading import load

__all__ = [
    "Predictor", "__version__", "convert", "create", "evaluate", "explain", "export", "intervene", "list_models",
    "load", "merge_tokens", "optimize", "record", "save", "show", "show_images", "show_texts", "train",
]  # fmt: skip

_HOMES = {
    "Predictor": "saccade.engine.predictor",
    "convert": "saccade.checkpoints.convert",
    "create": "saccade.models.zoo",
    "evaluate": "saccade.api",
    "explain": "saccade.api",
    "export": "saccade.api",
    "intervene": "saccade.analysis.intervention",
    "list_models": "saccade.models.zoo",
    "load": "saccade.tasks.loading",
    "optimize": "saccade.inference.optimize",
    "merge_tokens": "saccade.inference.token_merging",
    "record": "saccade.explorer.recorder",
    "save": "saccade.api",
    "show": "saccade.explorer.notebook",
    "show_images": "saccade.explorer.notebook",
    "show_texts": "saccade.explorer.notebook",
    "train": "saccade.runs",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'saccade' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
