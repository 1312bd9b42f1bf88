"""Libraries that take a second to import and that few commands need."""

from importlib import import_module
from typing import Any


class Deferred:
    """A module that is imported when one of its names is read: ``metrics = Deferred("sklearn.metrics")``."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)
