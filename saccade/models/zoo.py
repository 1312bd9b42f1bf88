"""Every model by name. A literal table: the list of names needs no torch, and nothing registers itself.

A row names the module, the function in it that makes the config, and that function's arguments.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib import import_module
from typing import TYPE_CHECKING, Any

from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.models.model import Model

# name -> architecture, function that makes the config, its arguments
ZOO: dict[str, tuple[str, str, tuple]] = {
    "vit_digits": ("vit", "vit_digits_config", ()),
    "vit_lite7_4": ("vit", "vit_lite_config", (256, 7, 4)),
    "vit_ti16": ("vit", "vit_config", ("ti", 16)),
    "vit_s16": ("vit", "vit_config", ("s", 16)),
    "vit_s32": ("vit", "vit_config", ("s", 32)),
    "vit_b8": ("vit", "vit_config", ("b", 8)),
    "vit_b16": ("vit", "vit_config", ("b", 16)),
    "vit_b32": ("vit", "vit_config", ("b", 32)),
    "vit_l16": ("vit", "vit_config", ("l", 16)),
    "vit_l32": ("vit", "vit_config", ("l", 32)),
    "vit_so14": ("vit", "vit_config", ("so", 14)),
    "vit_h14": ("vit", "vit_config", ("h", 14)),
    "vit_g14": ("vit", "vit_config", ("g", 14)),
    "vit_bigg14": ("vit", "vit_config", ("bigg", 14)),
    "deit_ti16": ("deit", "deit_config", ("ti",)),
    "deit_s16": ("deit", "deit_config", ("s",)),
    "deit_b16": ("deit", "deit_config", ("b",)),
    "hybrid_r_ti16": ("hybrid", "hybrid_config", ("ti", (), 8)),
    "hybrid_r26_s32": ("hybrid", "hybrid_config", ("s", (2, 2, 2, 2))),
    "hybrid_r50_b16": ("hybrid", "hybrid_config", ("b", (3, 4, 9))),
    "hybrid_r50_l32": ("hybrid", "hybrid_config", ("l", (3, 4, 6, 3))),
    "conv_vit7": ("conv_vit", "conv_vit_config", (256, 7)),
    "mae_digits": ("mae", "mae_digits_config", ()),
    "mae_ti16": ("mae", "mae_config", ("ti", 16)),
    "mae_s16": ("mae", "mae_config", ("s", 16)),
    "mae_b16": ("mae", "mae_config", ("b", 16)),
    "mae_l16": ("mae", "mae_config", ("l", 16)),
    "mae_h14": ("mae", "mae_config", ("h", 14)),
    "yolo_small": ("yolo", "yolo_small_config", ()),
    "dpt_small": ("dpt", "dpt_small_config", ()),
    "dpt_small_seg": ("dpt", "dpt_small_config", (11,)),
    "dpt_small_hybrid": ("dpt", "dpt_small_hybrid_config", ()),
    "dpt_small_hybrid_seg": ("dpt", "dpt_small_hybrid_config", (11,)),
    "dpt_ti": ("dpt", "dpt_config", ("ti",)),
    "dpt_s": ("dpt", "dpt_config", ("s",)),
    "dpt_b": ("dpt", "dpt_config", ("b",)),
    "dpt_l": ("dpt", "dpt_config", ("l",)),
    "dpt_l_seg": ("dpt", "dpt_config", ("l", 150)),
    "dpt_hybrid": ("dpt", "dpt_hybrid_config", ()),
    "dpt_hybrid_seg": ("dpt", "dpt_hybrid_config", (150,)),
    "detr_small": ("detr", "detr_small_config", ()),
    "detr_r50": ("detr", "detr_config", (50,)),
    "detr_r50_dc5": ("detr", "detr_config", (50, True)),
    "detr_r101": ("detr", "detr_config", (101,)),
    "detr_r101_dc5": ("detr", "detr_config", (101, True)),
    "detr_r50_panoptic": ("detr", "detr_config", (50, False, True)),
    "masked_vit_digits": ("masked_vit", "masked_vit_digits_config", ()),
    "masked_vit_ti16": ("masked_vit", "masked_vit_config", ("ti", 16)),
    "masked_vit_b16": ("masked_vit", "masked_vit_config", ("b", 16)),
    "lenet": ("lenet", "lenet_config", ()),
    "alexnet": ("alexnet", "alexnet_config", ()),
    "vgg11": ("vgg", "vgg_config", (11,)),
    "vgg11_bn": ("vgg", "vgg_config", (11, True)),
    "vgg13": ("vgg", "vgg_config", (13,)),
    "vgg13_bn": ("vgg", "vgg_config", (13, True)),
    "vgg16": ("vgg", "vgg_config", (16,)),
    "vgg16_bn": ("vgg", "vgg_config", (16, True)),
    "vgg19": ("vgg", "vgg_config", (19,)),
    "vgg19_bn": ("vgg", "vgg_config", (19, True)),
    "resnet18": ("resnet", "resnet_config", (18,)),
    "resnet18_small": ("resnet", "resnet_small_config", (18,)),
    "resnet34": ("resnet", "resnet_config", (34,)),
    "resnet50": ("resnet", "resnet_config", (50,)),
    "resnet101": ("resnet", "resnet_config", (101,)),
    "resnet152": ("resnet", "resnet_config", (152,)),
    "wide_resnet50_2": ("resnet", "resnet_config", (50, 2)),
    "wide_resnet101_2": ("resnet", "resnet_config", (101, 2)),
    "wrn28_10": ("wide_resnet", "wide_resnet_config", (28, 10)),
    "bit_r50x1": ("bit", "bit_config", (50, 1)),
    "bit_r50x3": ("bit", "bit_config", (50, 3)),
    "bit_r101x1": ("bit", "bit_config", (101, 1)),
    "bit_r101x3": ("bit", "bit_config", (101, 3)),
    "bit_r152x2": ("bit", "bit_config", (152, 2)),
    "bit_r152x4": ("bit", "bit_config", (152, 4)),
    "convnext_t": ("convnext", "convnext_config", ("t",)),
    "convnext_s": ("convnext", "convnext_config", ("s",)),
    "convnext_b": ("convnext", "convnext_config", ("b",)),
    "convnext_l": ("convnext", "convnext_config", ("l",)),
    "convmixer_256_8": ("convmixer", "convmixer_small_config", (256, 8)),
    "convmixer_768_32": ("convmixer", "convmixer_config", (768, 32)),
    "convmixer_1536_20": ("convmixer", "convmixer_config", (1536, 20)),
    "local_resnet26": ("local_resnet", "local_resnet_config", (26,)),
    "local_resnet38": ("local_resnet", "local_resnet_config", (38,)),
    "local_resnet50": ("local_resnet", "local_resnet_config", (50,)),
    "axial_resnet26_s": ("axial_resnet", "axial_resnet_config", (26, "s")),
    "axial_resnet50_s": ("axial_resnet", "axial_resnet_config", (50, "s")),
    "axial_resnet50_m": ("axial_resnet", "axial_resnet_config", (50, "m")),
    "axial_resnet50_l": ("axial_resnet", "axial_resnet_config", (50, "l")),
}

# architecture -> module, config class, model class
ARCHITECTURES = {
    "vit": ("saccade.models.vit", "ViTConfig", "VisionTransformer"),
    "lenet": ("saccade.models.lenet", "LeNetConfig", "LeNet"),
    "alexnet": ("saccade.models.alexnet", "AlexNetConfig", "AlexNet"),
    "vgg": ("saccade.models.vgg", "VGGConfig", "VGG"),
    "resnet": ("saccade.models.resnet", "ResNetConfig", "ResNet"),
    "wide_resnet": ("saccade.models.wide_resnet", "WideResNetConfig", "WideResNet"),
    "bit": ("saccade.models.bit", "BiTConfig", "BiT"),
    "convnext": ("saccade.models.convnext", "ConvNeXtConfig", "ConvNeXt"),
    "convmixer": ("saccade.models.convmixer", "ConvMixerConfig", "ConvMixer"),
    "deit": ("saccade.models.deit", "DeiTConfig", "DistilledViT"),
    "hybrid": ("saccade.models.hybrid", "HybridConfig", "HybridViT"),
    "conv_vit": ("saccade.models.conv_vit", "ConvViTConfig", "ConvViT"),
    "mae": ("saccade.models.mae", "MAEConfig", "MaskedAutoencoder"),
    "masked_vit": ("saccade.models.masked_vit", "MaskedViTConfig", "MaskedViT"),
    "yolo": ("saccade.models.yolo", "YoloConfig", "Yolo"),
    "dpt": ("saccade.models.dpt", "DPTConfig", "DPT"),
    "detr": ("saccade.models.detr", "DETRConfig", "DETR"),
    "local_resnet": ("saccade.models.local_resnet", "LocalResNetConfig", "LocalResNet"),
    "axial_resnet": ("saccade.models.axial_resnet", "AxialResNetConfig", "AxialResNet"),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a wildcard pattern, such as ``"vit*"``."""
    return [name for name in ZOO if fnmatch(name, pattern)]


def architecture_of(name: str) -> str:
    """The architecture of a named model, such as ``"vit"``."""
    if name not in ZOO:
        close = get_close_matches(name, ZOO, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "saccade.list_models() names them all"
        raise ConfigError(f"there is no model {name!r}; {hint}")
    return ZOO[name][0]


def config_of(
    name: str,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """The config of a named model, with changes; arguments as for :func:`create`."""
    module = import_module(ARCHITECTURES[architecture_of(name)][0])
    _, function, arguments = ZOO[name]
    changes: dict[str, Any] = dict(options or {})
    if num_classes is not None:
        changes["num_classes"] = num_classes
    if image_size is not None:
        changes["image_size"] = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if in_channels is not None:
        changes["in_channels"] = in_channels
    return change_config(getattr(module, function)(*arguments), changes)


def create(
    name: str,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> "Model":
    """A model with fresh weights.

    Args:
        name: one of :func:`list_models`.
        num_classes: width of the logits; 0 for features.
        image_size: (H, W) in pixels, or one number for a square.
        in_channels: channels of the images.
        options: other fields of the model's config, nested ones with dots:
            ``{"pooling": "mean", "block.layer_scale": 1e-5}``.

    Raises:
        ConfigError: no such model or option, with the nearest names.
    """
    config = config_of(name, num_classes=num_classes, image_size=image_size, in_channels=in_channels, options=options)
    return _model_class(architecture_of(name))(config)


def build(architecture: str, config: Mapping[str, Any]) -> "Model":
    """A model with fresh weights from an architecture's name and its config as plain values (a ``config.json``)."""
    read = read_config(architecture, config)
    return _model_class(architecture)(read)


def read_config(architecture: str, config: Mapping[str, Any]) -> Any:
    """The config of an architecture from plain values."""
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"there is no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}")
    module, config_class, _ = ARCHITECTURES[architecture]
    try:
        return getattr(import_module(module), config_class).from_dict(dict(config))
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"this is no config of the architecture {architecture!r}: {error}") from error


def backbone_maps(architecture: str, config: Any) -> list[tuple[int, tuple[int, int]]]:
    """(channels, stride) of a backbone's feature maps, from the finest to the coarsest; nothing is computed."""
    import torch

    with torch.device("meta"):
        probe = build(architecture, config.to_dict()).eval()
        maps = probe.features(torch.empty(1, config.in_channels, *config.image_size))
    return [(m.features.shape[1], m.stride) for m in maps]


def change_config(config: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a (nested) config dataclass with fields changed; nested fields are named with dots.

    A config may have `ALIASES`: names that stand for a field of a part, as `image_size` for a detector's backbone.
    """
    nested: dict[str, dict[str, Any]] = {}
    flat: dict[str, Any] = {}
    names = {f.name for f in fields(config)}
    aliases: Mapping[str, str] = getattr(config, "ALIASES", {})
    for path, value in changes.items():
        head, _, rest = aliases.get(path, path).partition(".")
        if head not in names or bool(rest) != is_dataclass(getattr(config, head)):
            close = get_close_matches(head, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names))}"
            raise ConfigError(f"{type(config).__name__} has no option {path!r}; {hint}")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            flat[head] = tuple(value) if isinstance(value, list) else value
    flat |= {head: change_config(getattr(config, head), inner) for head, inner in nested.items()}
    try:
        return replace(config, **flat)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _model_class(architecture: str) -> type["Model"]:
    module, _, model_class = ARCHITECTURES[architecture]
    return getattr(import_module(module), model_class)
