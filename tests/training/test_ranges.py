"""Every number in a run's config has a range, and the error names the option."""

import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest

from saccade.config_io import Range
from saccade.errors import ConfigError
from saccade.tasks import table
from saccade.training.config import OptimizerConfig, RunConfig, flat_values, parse_override, resolve


def ranges(kind: Any, inherited: Range | None = None) -> Iterator[Range | None]:
    """The range of every number in a type; None for a number without one."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        own = [extra for extra in arguments[1:] if isinstance(extra, Range)]
        yield from ranges(arguments[0], own[0] if own else inherited)
    elif origin in (Union, types.UnionType, tuple):
        for inner in arguments:
            yield from ranges(inner, inherited)
    elif kind in (int, float):
        yield inherited


def numeric_options(cls: type, prefix: str) -> Iterator[tuple[str, Any, list[Range | None]]]:
    """(dotted name, type, ranges of the numbers in it) of every numeric option of a config and its parts."""
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        kind = hints[field.name]
        part = next((k for k in (kind, *get_args(kind)) if isinstance(k, type) and is_dataclass(k)), None)
        if part is not None:
            yield from numeric_options(part, f"{prefix}{field.name}.")
        elif inside := list(ranges(kind)):
            yield f"{prefix}{field.name}", kind, inside


OPTIONS = {name: (kind, inside) for name, kind, inside in numeric_options(RunConfig, "")}
for task in table.TASKS:
    OPTIONS |= {name: (kind, inside) for name, kind, inside in numeric_options(table.config_class(task), f"{task}.")}


def shaped(kind: Any, value: float) -> Any:
    """The value as an option's type has it: alone or in a list."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated or origin in (Union, types.UnionType):
        return shaped(arguments[0], value)
    if origin is tuple:
        return [shaped(inner, value) for inner in arguments if inner is not Ellipsis]
    return value


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_every_numeric_option_has_a_range(name: str) -> None:
    kind, inside = OPTIONS[name]
    for limits in inside:
        assert limits is not None, f"{name} has no range"
        beyond = [limits.low - 1, float("inf"), float("-inf")]
        beyond += [limits.high + 1] if limits.high is not None else []
        beyond += [limits.low] if limits.above else []
        for value in beyond:
            task = name.partition(".")[0]
            overrides: dict[str, Any] = {name: shaped(kind, value)}
            if task in table.TASKS:
                overrides["task"] = task
            with pytest.raises(ConfigError, match=rf"^{name}[\[\]\d]* "):
                resolve(overrides=overrides)


def test_configs_that_are_built_in_python_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.clip_norm must be 0 or more, and finite, not -1"):
        RunConfig(optimizer=OptimizerConfig(clip_norm=-1))
    with pytest.raises(ConfigError, match=r"detection\.cost_bbox"):
        replace(resolve(overrides={"task": "detection"}), options=table.config_class("detection")(cost_bbox=-1.0))


def test_intervals_are_ordered_and_large_seeds_exact() -> None:
    with pytest.raises(ConfigError, match=r"augmentation\.crop_scale is a minimum and a maximum"):
        resolve(overrides={"augmentation.crop_scale": [1.0, 0.5]})
    assert resolve(overrides={"seed": 2**62 + 1}).seed == 2**62 + 1


WILD = (
    "[]",
    "{}",
    "[[1]]",
    "{a: 1}",
    "abc",
    "''",
    "true",
    "null",
    "1e308",
    "-1e308",
    "9" * 400,
    ".nan",
    '"\\0"',
    "&a [*a]",
)


@pytest.mark.parametrize("name", [*sorted(name for name in flat_values(RunConfig())), "recipe", "task"])
def test_wild_values_are_refused_with_the_name_of_the_option(name: str) -> None:
    """Or taken: a text may be any text."""
    for text in WILD:
        try:
            key, value = parse_override(f"{name}={text}")
            resolve(overrides={key: value}).to_yaml()
        except ConfigError as error:
            assert name in str(error) or name in ("recipe", "task")  # noqa: PT017 (which list what there is)
            assert len(str(error).splitlines()) == 1  # noqa: PT017
