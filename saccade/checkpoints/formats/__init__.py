"""The published formats, one file a publisher and family, and which of them a file is.

Each file has the same names:

    NAME, ARCHITECTURE               display name, and name in the catalogue
    canonical(tensors)               where a project has had several layouts: the tensors in the one that the rules know
    matches(names)                   whether these tensor names are its own
    infer(shapes, metadata)          the architecture's config from names, shapes and the metadata of the checkpoint
    rules(config)                    tensor names and layouts, in both directions
    preprocessing(config, metadata)  how its publisher prepares images
    resampling(config, metadata)     how its publisher resamples positions, where the config has an option for it
    ignored(name)                    tensors without a use after training, which are left out
    task(config)                     what the model does, where that is not to classify
    task_state(config)               what its task needs to know of the training, where that is not the default
    labels(config)                   the classes of its published models, where files do not name them
    unsupported(config)              options whose value its library does not have -> what it has
    describe(config)                 the `config.json` of the same network, where the project writes one
"""

from types import ModuleType

from torch import Tensor

from saccade.checkpoints.formats import (
    depthanything,
    facebook_convnext,
    facebook_detr,
    facebook_dino,
    facebook_dinov3,
    facebook_mae,
    google_bit,
    google_hybrid,
    google_vit,
    huggingface_bert,
    huggingface_bit,
    huggingface_clip,
    huggingface_convnext,
    huggingface_deit,
    huggingface_depth_anything,
    huggingface_detr,
    huggingface_dinov2,
    huggingface_dinov3,
    huggingface_dinov3_convnext,
    huggingface_dpt,
    huggingface_hybrid,
    huggingface_mae,
    huggingface_marian,
    huggingface_perceiver,
    huggingface_perceiver_text,
    huggingface_resnet,
    huggingface_siglip,
    huggingface_vit,
    isl_dpt,
    open_clip_siglip,
    openai_clip,
    timm_bit,
    timm_convmixer,
    timm_convnext,
    timm_deit,
    timm_dinov3,
    timm_hybrid,
    timm_vgg,
    timm_vit,
    torchvision_alexnet,
    torchvision_convnext,
    torchvision_resnet,
    torchvision_vgg,
    torchvision_vit,
)
from saccade.checkpoints.reading import without_prefixes
from saccade.errors import CheckpointError

# What has more parts stands before what has fewer of the same names: a hybrid before a ViT.
FORMATS: tuple[ModuleType, ...] = (
    openai_clip,
    open_clip_siglip,
    huggingface_clip,
    huggingface_siglip,
    huggingface_perceiver,
    huggingface_perceiver_text,
    huggingface_bert,
    huggingface_marian,
    facebook_detr,
    huggingface_detr,
    depthanything,
    huggingface_depth_anything,
    isl_dpt,
    huggingface_dpt,
    google_hybrid,
    google_vit,
    google_bit,
    huggingface_hybrid,
    huggingface_mae,
    huggingface_deit,
    huggingface_dinov2,
    huggingface_dinov3,
    huggingface_dinov3_convnext,
    huggingface_vit,
    huggingface_resnet,
    huggingface_convnext,
    huggingface_bit,
    torchvision_vit,
    torchvision_alexnet,
    torchvision_vgg,
    torchvision_resnet,
    torchvision_convnext,
    facebook_mae,
    facebook_dinov3,
    facebook_dino,
    facebook_convnext,
    timm_dinov3,
    timm_deit,
    timm_hybrid,
    timm_vit,
    timm_vgg,
    timm_convnext,
    timm_convmixer,
    timm_bit,
)


def detect(tensors: dict[str, Tensor]) -> tuple[ModuleType, dict[str, Tensor]]:
    """The format whose tensor names these are, and the tensors under the names that its rules know.

    Prefixes that training scripts put in front of all names are removed where the format is not recognised with them.
    Raises CheckpointError, showing some of the names, if it is none.
    """
    for content in without_prefixes(tensors):
        for candidate in FORMATS:
            canonical = candidate.canonical(content) if hasattr(candidate, "canonical") else content
            if candidate.matches(set(canonical)):
                return candidate, canonical
    formats = ", ".join(candidate.NAME for candidate in FORMATS)
    examples = ", ".join(sorted(tensors)[:6])
    raise CheckpointError(f"these tensor names are of no known format ({formats}): {examples} …")
