"""Models by name, built from the tables of the catalogue; listing the names needs no torch."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from importlib import import_module
from typing import TYPE_CHECKING, Any, Never, get_type_hints

from saccade.config_io import convert_value
from saccade.errors import ConfigError, OptionError
from saccade.models.catalogue import ARCHITECTURES, ZOO
from saccade.models.names import argument_error, name_hint

if TYPE_CHECKING:
    from saccade.models.model import Model

# Numbers of a config: parts that are built one after the other, sides of images and filters in pixels, everything else.
REPEATED = ("depth", "depths", "encoder_depth", "decoder_depth", "layers", "levels", "passes", "reads", "bands")
SIZES = ("image_size", "patch_size", "kernel_size", "window")
MAX_REPEATS, MAX_PIXELS, MAX_WIDTH = 1000, 2**14, 2**24
# Raised by PyTorch and by arithmetic on sizes that no model has.
UNBUILDABLE = (ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AssertionError, MemoryError)


def list_models(pattern: str = "*") -> list[str]:
    """Names that contain a text, such as ``"vit"``, or match a wildcard pattern, such as ``"vit*"``."""
    has_wildcard = any(sign in pattern for sign in "*?[")
    return [name for name in ZOO if (fnmatch(name, pattern) if has_wildcard else pattern in name)]


def near_names(name: str) -> list[str]:
    """Up to three names of models that resemble an unknown name."""
    return get_close_matches(name, ZOO, n=3, cutoff=0.4)


def architecture_of(name: str) -> str:
    """The architecture of a named model, such as ``"vit"``."""
    if name not in ZOO:
        close = near_names(name)
        hint = f"did you mean {' or '.join(close)}?" if close else "saccade.list_models() names them all"
        raise ConfigError(f"there is no model {name!r}; {name_hint(name) or hint}")
    return ZOO[name]


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
    changes: dict[str, Any] = dict(options or {})
    if num_classes is not None:
        changes["num_classes"] = num_classes
    if image_size is not None:
        changes["image_size"] = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if in_channels is not None:
        changes["in_channels"] = in_channels
    return change_config(getattr(module, f"{name}_config")(), changes)


def create(
    name: str,
    *,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_channels: int | None = None,
    options: Mapping[str, Any] | None = None,
    **unknown: Never,
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
        ConfigError: no such model or option, with the nearest names; or an invalid size.
        TypeError: no such argument; the message gives the equivalent if it is an argument of timm, torchvision or
            transformers.
    """
    if unknown:
        raise argument_error("create", unknown)
    config = config_of(name, num_classes=num_classes, image_size=image_size, in_channels=in_channels, options=options)
    return _model(architecture_of(name), config)


def build(architecture: str, config: Mapping[str, Any], max_values: int | None = None) -> "Model":
    """A model with fresh weights from an architecture's name and its config as plain values (a ``config.json``).

    Args:
        architecture: one of :data:`saccade.models.catalogue.ARCHITECTURES`.
        config: result of the config's `to_dict`.
        max_values: maximum number of values in parameters and buffers, checked before memory is allocated; None for a
            trusted config.

    Raises:
        ConfigError: no such architecture, an invalid config, or a config of a larger model.
    """
    typed = read_config(architecture, config)
    try:
        if max_values is not None:
            with import_module("saccade.models.shapes").without_values():
                shapes = _model(architecture, typed).state_dict().values()
            count = sum(tensor.numel() for tensor in shapes)
            if count > max_values:
                raise ConfigError(f"its config is of a model of {count:,} values, and the file has {max_values:,}")
        return _model(architecture, typed)
    except UNBUILDABLE as error:
        first = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"a {architecture} cannot have this config: {first}") from error


def read_config(architecture: str, config: Mapping[str, Any]) -> Any:
    """The config of an architecture from plain values."""
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"there is no architecture {architecture!r}; there are {', '.join(ARCHITECTURES)}")
    module, config_class, _ = ARCHITECTURES[architecture]
    try:
        return getattr(import_module(module), config_class).from_dict(config)
    except (ConfigError, *UNBUILDABLE) as error:
        raise ConfigError(f"invalid config of the architecture {architecture!r}: {error}") from error


def change_config(config: Any, changes: Mapping[str, Any], path: str = "") -> Any:
    """A copy of a (nested) config dataclass with fields changed; nested fields are addressed with dots.

    ``path`` is the prefix of names in errors, such as ``"block."``.

    A config may have `ALIASES`: other names of nested fields, such as `image_size` of a detector's backbone.
    """
    nested: dict[str, dict[str, Any]] = {}
    flat: dict[str, Any] = {}
    names = {f.name for f in fields(config)}
    aliases: Mapping[str, str] = getattr(config, "ALIASES", {})
    for name, value in changes.items():
        head, _, rest = aliases.get(name, name).partition(".")
        if not rest and isinstance(value, Mapping) and head in names and is_dataclass(getattr(config, head)):
            nested.setdefault(head, {}).update(value)  # {"text": {"depth": 1}} as well as {"text.depth": 1}
            continue
        if head not in names or bool(rest) != is_dataclass(getattr(config, head)):
            close = get_close_matches(head, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(names))}"
            raise OptionError(path + name, f"is no option of {type(config).__name__}; {hint}")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            flat[head] = tuple(value) if isinstance(value, list) else value
    _check_numbers(flat, path)
    hints = get_type_hints(type(config))
    for head, value in flat.items():
        try:
            flat[head] = convert_value(hints[head], value, path + head)
        except ConfigError as error:
            option, _, problem = str(error).partition(" ")
            raise OptionError(option, problem) from error
    flat |= {head: change_config(getattr(config, head), inner, f"{path}{head}.") for head, inner in nested.items()}
    try:
        return replace(config, **flat)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_numbers(changes: Mapping[str, Any], path: str) -> None:
    """Raise OptionError for invalid numbers of classes, channels and pixels."""
    for name, least in (("num_classes", 0), ("in_channels", 1)):
        value = changes.get(name, least)
        if not isinstance(value, int) or value < least:
            raise OptionError(path + name, f"must be a whole number of at least {least}, not {value!r}")
    size = changes.get("image_size")
    is_pair = isinstance(size, tuple | list) and len(size) == 2
    if size is not None and not (is_pair and all(isinstance(n, int) and n > 0 for n in size)):
        rule = f"must be a height and a width in pixels, such as (224, 224), not {size}"
        raise OptionError(f"{path}image_size", rule)


def _model(architecture: str, config: Any) -> "Model":
    module, _, model_class = ARCHITECTURES[architecture]
    _check_counts(config, "")
    return getattr(import_module(module), model_class)(config)


def _check_counts(config: Any, path: str) -> None:
    """Raise OptionError for a negative count or width in a model's config, or an image without pixels."""
    for f in fields(config):
        name, value = f"{path}{f.name}", getattr(config, f.name)
        if is_dataclass(value):
            _check_counts(value, f"{name}.")
            continue
        counts = [n for n in (value if isinstance(value, tuple) else (value,)) if type(n) is int]
        most = MAX_REPEATS if f.name in REPEATED else MAX_PIXELS if f.name in SIZES else MAX_WIDTH
        if any(count > most for count in counts):
            raise OptionError(name, f"must be at most {most:,}, not {value}")
        least = 1 if f.name in ("image_size", "patch_size", "in_channels", "embed_dim", "mlp_dim", "num_heads") else 0
        if any(count < least for count in counts):
            raise OptionError(name, f"must be at least {least}, not {value}")
