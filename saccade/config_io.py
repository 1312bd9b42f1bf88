"""Dataclass configs from plain values of JSON or YAML: every key and type is checked."""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from saccade.errors import ConfigError

T = TypeVar("T")
TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Range:
    """Range of a number as a part of its type: ``Annotated[float, Range(0, above=True)]``.

    For a tuple the range applies to each value. No range contains NaN or infinity.

    Attributes:
        low: the smallest value.
        high: the largest one; None for any finite number.
        above: whether `low` itself is excluded.
        below: whether `high` itself is excluded.
        ordered: whether a pair is a minimum and a maximum.
    """

    low: float
    high: float | None = None
    above: bool = False
    below: bool = False
    ordered: bool = False

    def require(self, value: Any, path: str) -> None:
        """Raise ConfigError with `path` in the message unless the numbers in `value` are inside; None has no range."""
        numbers = value if isinstance(value, tuple | list) else () if value is None else (value,)
        for number in numbers:
            low = number > self.low if self.above else number >= self.low
            high = self.high is None or (number < self.high if self.below else number <= self.high)
            if not (low and high and math.isfinite(number)):
                raise ConfigError(f"{path} {self._rule(number)}, not {value}")
        if self.ordered and list(numbers) != sorted(numbers):
            raise ConfigError(f"{path} is a minimum and a maximum, not {value}")

    def _rule(self, number: float) -> str:
        """The rule that a number outside the range violates."""
        if self.high is not None and self.high <= SHORT:
            low, high = "(" if self.above else "[", ")" if self.below else "]"
            return f"must be in {low}{self.low:g}, {self.high:g}{high}"
        if self.high is not None and number > self.high:
            return f"must be at most {self.high:.15g}"
        if self.low > 0:
            return f"must be at least {self.low:g}"
        return "must be positive and finite" if self.above else "must be 0 or more, and finite"


SHORT = 1000  # ranges up to here are written as intervals

# Types of options: a dataclass field of this type is checked when the config is made.
Count = Annotated[int, Range(1, 2**31 - 1)]
Size = Annotated[int, Range(0, 2**31 - 1)]
Seed = Annotated[int, Range(0, 2**63 - 1)]
Side = Annotated[int, Range(1, 2**14)]  # of an image, in pixels
Fraction = Annotated[float, Range(0, 1)]
Part = Annotated[float, Range(0, 1, below=True)]  # a fraction that is never all
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Rate = Annotated[float, Range(0, 1e6, above=True)]  # beyond which float32 overflows within few steps
Strength = Annotated[float, Range(0, 1e6)]


class Config:
    """Mixin for dataclasses that are stored as JSON or YAML."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, nested dataclasses as dictionaries; :meth:`from_dict` reads them, also after JSON."""
        return asdict(self)  # type: ignore[call-overload]  # every config is a dataclass

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a config; raises ConfigError for unknown or missing keys and for values of another type."""
        return build_config(cls, values)


def build_config(
    cls: type[T], values: Any, path: str = "", *, hidden: Sequence[str] = (), more: Sequence[str] = ()
) -> T:
    """A dataclass from plain values; lists become tuples, dictionaries nested dataclasses.

    Args:
        cls: the dataclass.
        values: values by field name; a nested dataclass may be given as an instance.
        path: prefix of names in errors, such as ``"data."``.
        hidden: fields that cannot be set by name.
        more: further names to suggest in errors.

    Raises:
        ConfigError: an unknown key, with the nearest names, a missing one, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path.rstrip('.') or 'the config'} must have keys and values, not {values!r}")
    specs = {f.name: f for f in fields(cls) if f.name not in hidden}  # type: ignore[arg-type]
    for key in values:
        if key not in specs:
            names = [*specs, *more]
            close = get_close_matches(str(key), names, n=1)
            hint = f"did you mean {path}{close[0]}?" if close else f"there are {', '.join(names)}"
            raise ConfigError(f"there is no option {path}{key}; {hint}")
    required = [name for name, f in specs.items() if f.default is MISSING and f.default_factory is MISSING]
    missing = [path + name for name in required if name not in values]
    if missing:
        raise ConfigError(f"{', '.join(missing)} must be given")
    hints = _type_hints(cls)
    return cls(**{key: convert_value(hints[key], value, path + key) for key, value in values.items()})


def convert_value(kind: Any, value: Any, path: str) -> Any:
    """A plain value as an instance of a type hint; raises ConfigError with `path` in the message if it has another
    type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        converted = convert_value(arguments[0], value, path)
        for extra in arguments[1:]:
            if isinstance(extra, Range):
                extra.require(converted, path)
        return converted
    if kind is Any:
        return value
    if origin in (Union, types.UnionType):
        inner = [k for k in arguments if k is not type(None)]
        return None if value is None and len(inner) < len(arguments) else convert_value(inner[0], value, path)
    if is_dataclass(kind):
        return value if isinstance(value, kind) else build_config(kind, value, f"{path}.")  # type: ignore[arg-type]
    if origin is Literal:
        if value is False and "off" in arguments:  # YAML 1.1 reads off as false
            return "off"
        if value not in arguments:
            raise ConfigError(f"{path} must be one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple:
        return _convert_tuple(arguments, value, path)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must have keys and values, not {value!r}")
        return dict(value)
    return _convert_scalar(kind, value, path)


def _convert_tuple(kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{path} must be a list, as [a, b], not {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(value) != len(kinds):
        raise ConfigError(f"{path} takes {len(kinds)} values, as [a, b], not {value!r}")
    return tuple(convert_value(kind, item, f"{path}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value)))


def _convert_scalar(kind: type, value: Any, path: str) -> Any:
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind in (int, float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            number = float(value)  # YAML 1.1 reads 1e-3 as text
        except (ValueError, OverflowError):
            number = float("nan")
        if number == number and (kind is float or number.is_integer()):
            return value if type(value) is kind else kind(number)  # a seed of 60 bits is no float
    raise ConfigError(f"{path} takes {TYPE_NAMES[kind]}, not {value!r}")


def check_ranges(config: Any, path: str = "", names: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raise ConfigError with the option's name unless every number of a config and its parts is in its range.

    Args:
        config: a dataclass.
        path: prefix of names in errors, such as ``"data."``.
        names: names to use in errors instead of field names.
    """
    for name, kind in _type_hints(type(config)).items():
        value = getattr(config, name)
        if is_dataclass(value) and not isinstance(value, type):
            check_ranges(value, f"{path}{names.get(name, name)}.")
        else:
            _check_range(kind, value, path + name)


def _check_range(kind: Any, value: Any, path: str) -> None:
    origin, arguments = get_origin(kind), get_args(kind)
    if value is None:
        return
    if origin is Annotated:
        for extra in arguments[1:]:
            if isinstance(extra, Range):
                extra.require(value, path)
        _check_range(arguments[0], value, path)
    elif origin in (Union, types.UnionType):
        _check_range(next(k for k in arguments if k is not type(None)), value, path)
    elif origin is tuple:
        kinds = (arguments[0],) * len(value) if arguments[-1] is Ellipsis else arguments
        for index, (inner, item) in enumerate(zip(kinds, value)):
            _check_range(inner, item, f"{path}[{index}]")


@cache
def _type_hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)
