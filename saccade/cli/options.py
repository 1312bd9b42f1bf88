"""Options that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.errors import ConfigError

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of text.")]


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """How a model is opened."""

    image_size: int | None = None
    """Side in pixels, instead of the model's own; positions are resampled."""
    device: str = "cpu"
    """Such as cpu, cuda or auto."""
    labels: Path | None = None
    """File with the names of the model's classes, instead of its own: a name a line, a CSV of index,name, or JSON such
    as {"0": "cat"} or {"cat": 0}."""


@Parameter(name="*")
@dataclass(frozen=True)
class CacheOptions:
    """Where features of images are kept between calls."""

    cache: Path | None = None
    """Folder that keeps the vectors, instead of ~/.cache/saccade/features."""
    no_cache: Annotated[bool, Parameter(negative="")] = False
    """Keep nothing."""

    def folder(self) -> Path | None:
        """The folder, or None to keep nothing."""
        from saccade.engine.features import default_cache

        if self.cache is not None and self.no_cache:
            raise ConfigError("choose --cache or --no-cache")
        return None if self.no_cache else self.cache or default_cache()


@Parameter(name="*")
@dataclass(frozen=True)
class BootstrapOptions:
    """Confidence intervals of the metrics of a split."""

    intervals: Annotated[bool, Parameter(negative="")] = False
    """Print a 95 % confidence interval of every headline figure (bootstrap over the inputs)."""
    resamples: int = 1000
    """Draws of the bootstrap."""
    seed: int = 0
    """Of the draws."""
