"""Options of a masked image modelling run. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class MaskedImageConfig:
    """Nothing beyond the model's own options, such as `mask_ratio`."""

    SUMMARY: ClassVar[str] = "masked patches of images"
    DATA: ClassVar[str] = 'images at any depth of a folder, a zip, tar shards, or "digits"'
    LABELLED: ClassVar[bool] = False  # `saccade pretrain` trains the tasks without labels
    STEPS: ClassVar[int] = 1000  # optimizer steps that fresh weights need at least to learn something of use
    ARCHITECTURES: ClassVar[tuple[str, ...]] = ("mae", "masked_vit")

    @staticmethod
    def default_recipe(data: str | None, model: Mapping[str, Any]) -> str:
        """The recipe for a data path (None: the default data set) and the given fields of the model's config."""
        built_in = data in (None, "digits") and not {"name", "init"} & set(model)
        return "mae_digits" if built_in else "mae"

    @staticmethod
    def suits(path: str) -> bool:
        """Whether data at this path is for this task rather than for another one without labels."""
        return not (path == "numbers" or path.endswith(".txt"))
