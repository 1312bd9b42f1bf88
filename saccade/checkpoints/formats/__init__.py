"""The published formats, one file a publisher and family, and which of them a file is.

Each file has the same names:

    NAME, ARCHITECTURE               for people, and in the zoo
    RESAMPLING                       how its publisher resamples positions, where it has any
    matches(names)                   whether these tensor names are its own
    infer(shapes, hints)             the architecture's config from names and shapes, and what is said beside the file
    rules(config)                    tensor names and layouts, in both directions
    preprocessing(config, hints)     how its publisher prepares images
"""

from collections.abc import Iterable
from types import ModuleType

from saccade.checkpoints.formats import (
    google_vit,
    huggingface_vit,
    timm_vit,
    torchvision_alexnet,
    torchvision_resnet,
    torchvision_vgg,
    torchvision_vit,
)
from saccade.errors import CheckpointError

FORMATS: tuple[ModuleType, ...] = (
    google_vit,
    huggingface_vit,
    torchvision_vit,
    timm_vit,
    torchvision_alexnet,
    torchvision_vgg,
    torchvision_resnet,
)


def detect(names: Iterable[str]) -> ModuleType:
    """The format whose tensor names these are; raises CheckpointError, showing some of the names, if it is none."""
    names = set(names)
    for candidate in FORMATS:
        if candidate.matches(names):
            return candidate
    known = ", ".join(candidate.NAME for candidate in FORMATS)
    shown = ", ".join(sorted(names)[:6])
    raise CheckpointError(f"these tensor names are of no known format ({known}): {shown} …")
