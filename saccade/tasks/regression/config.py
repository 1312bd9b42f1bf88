"""Options of a regression run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from saccade.config_io import Positive


@dataclass(frozen=True)
class RegressionConfig:
    """Options of regression. Losses are computed on standardised values."""

    loss: Literal["mse", "l1", "huber"] = "mse"  # squared error; absolute error; squared up to huber_delta, then linear
    huber_delta: Positive = 1.0  # in standard deviations of the training values

    SUMMARY: ClassVar[str] = "a number for an image"
    DATA: ClassVar[str] = 'a CSV of file,value, or "digits"'
    LABELLED: ClassVar[bool] = True  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 500  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ()  # every backbone, as for classification

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        return "regression"
