"""Options that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.analysis.rise import RiseMasks
    from saccade.engine.predictor import Predictor

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON instead of text.")]
# Of `saccade.analysis.image_maps`, whose import loads torch.
MapMethod = Literal[
    "attention", "rollout", "flow", "relevance", "attnlrp", "grad-cam", "integrated-gradients", "occlusion", "rise"
]


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """How a model is opened."""

    image_size: int | None = None
    """Side of the images in pixels, instead of the model's own; positions are resampled."""
    device: str = "cpu"
    """Device, such as cpu, cuda or auto."""
    labels: Path | None = None
    """File with the names of the model's classes, instead of its own: one name per line, a CSV of index,name, or JSON
    such as {"0": "cat"} or {"cat": 0}."""


@Parameter(name="*")
@dataclass(frozen=True)
class FastOptions:
    """Whether the fastest backend on this machine is used."""

    fast: Annotated[bool, Parameter(negative="")] = False
    """Rewrite the model, measure the installed backends, and use the fastest whose output is within 1e-5 of the plain
    one. This takes up to half a minute the first time; the choice is stored for later calls."""
    precision: Literal["f32", "bf16", "int8"] = "f32"
    """With --fast: precision of matrix products; bf16 and int8 are used only if 95 % of the predicted
    classes stay the same."""

    def apply(self, predictor: Any, batch_size: int, method: Literal["forward", "embed"] = "forward") -> Any:
        """The predictor, or a fast one for batches of a given size; the choice is printed on stderr.

        Raises:
            ConfigError: it is an exported file.
        """
        if not self.fast:
            if self.precision != "f32":
                raise ConfigError("--precision needs --fast")
            return predictor
        import sys

        from saccade.engine.predictor import Predictor
        from saccade.inference.optimize import choice_of, optimize

        if not isinstance(predictor, Predictor):
            raise ConfigError("--fast is for a model: an exported file has no such option")

        fast = optimize(predictor, method=method, precision=self.precision, batch_size=batch_size)
        print(choice_of(fast.model), file=sys.stderr)
        return fast


@Parameter(name="*")
@dataclass(frozen=True)
class RunOptions(FastOptions):
    """Device and speed of a model."""

    device: str = "cpu"
    """Such as cpu or cuda."""


@Parameter(name="*")
@dataclass(frozen=True)
class WayOptions(FastOptions):
    """Options for faster inference: the fastest backend and token merging."""

    merge: int = 0
    """Tokens to merge in each block of a ViT, a DeiT or a DPT: similar patches become one (ToMe). 13 makes a DeiT-Ti
    1.4 times as fast, for about a point of accuracy."""

    def merged(self, predictor: "Predictor") -> "Predictor":
        """The predictor, or the same with merged tokens.

        Raises:
            ConfigError: tokens of this model cannot be merged.
        """
        if not self.merge:
            return predictor
        from saccade.inference.token_merging import merge_tokens

        return merge_tokens(predictor, self.merge)


@Parameter(name="*")
@dataclass(frozen=True)
class CacheOptions:
    """Cache of image features."""

    cache: Path | None = None
    """Folder of the cached vectors, instead of ~/.cache/saccade/features."""
    no_cache: Annotated[bool, Parameter(negative="")] = False
    """Store no features."""

    def folder(self) -> Path | None:
        """The folder, or None for no cache."""
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
    """Seed of the draws."""


@Parameter(name="*")
@dataclass(frozen=True)
class MapOptions:
    """How a map is computed and scored."""

    masks: int | None = None
    """Random masks of rise; 1000 by default, the paper has 4000 to 8000."""
    seed: int = 0
    """Seed of the masks of rise."""
    score: bool = True
    """Measure how reliable the map is, compared with random maps: about 160 forward passes per image."""

    def rise(self, method: str | None) -> "RiseMasks | None":
        """The masks of the method rise; None for other methods."""
        from saccade.analysis.rise import RiseMasks

        if method != "rise":
            if self.masks is not None or self.seed != 0:
                raise ConfigError("--masks and --seed are for the method rise")
            return None
        return RiseMasks(RiseMasks.count if self.masks is None else self.masks, seed=self.seed)
