"""Configs from plain values: every published config round-trips through JSON, and mistakes are named."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from saccade.config_io import Config
from saccade.data.config import DataConfig, ScenesConfig, read_data_config
from saccade.errors import ConfigError
from saccade.models.zoo import architecture_of, config_of, list_models, read_config


@dataclass(frozen=True)
class Inner(Config):
    width: int
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer(Config):
    inner: Inner
    size: tuple[int, int] = (1, 2)
    depths: tuple[int, ...] = ()
    scale: float | None = None
    flag: bool = False
    name: str = ""
    other: Any = None


@pytest.mark.parametrize("name", list_models())
def test_every_model_config_round_trips_through_json(name: str) -> None:
    config = config_of(name)
    values = json.loads(json.dumps(config.to_dict()))
    assert read_config(architecture_of(name), values) == config


def test_values_become_the_declared_types() -> None:
    values = {"inner": {"width": 3.0}, "size": [3, 4], "depths": [1, 2, 3], "scale": "1e-3", "flag": True}
    config = Outer.from_dict(values)
    assert config == Outer(Inner(3), (3, 4), (1, 2, 3), 1e-3, True)
    assert isinstance(config.inner.width, int)
    assert Outer.from_dict(config.to_dict()) == config
    assert Outer.from_dict({"inner": Inner(3)}).inner == Inner(3)
    assert Outer.from_dict({"inner": {"width": 1}, "scale": None}).scale is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inner": {"width": 3, "kin": "a"}}, r"there is no option inner\.kin; did you mean inner\.kind\?"),
        ({"inner": {}}, r"inner\.width must be given"),
        ({"inner": 3}, "inner must have keys and values, not 3"),
        ({"inner": {"width": 2.5}}, r"inner\.width takes a whole number, not 2\.5"),
        ({"inner": {"width": True}}, r"inner\.width takes a whole number, not True"),
        ({"inner": {"width": None}}, r"inner\.width takes a whole number, not None"),
        ({"inner": {"width": 3, "kind": "c"}}, r"inner\.kind must be one of a, b, not 'c'"),
        ({"inner": {"width": 3}, "size": [1]}, r"size takes 2 values, as \[a, b\], not \[1\]"),
        ({"inner": {"width": 3}, "size": 1}, r"size must be a list, as \[a, b\], not 1"),
        ({"inner": {"width": 3}, "depths": ["a"]}, r"depths\[0\] takes a whole number, not 'a'"),
        ({"inner": {"width": 3}, "scale": "nan"}, "scale takes a number, not 'nan'"),
        ({"inner": {"width": 3}, "flag": 1}, "flag takes true or false, not 1"),
        ({"inner": {"width": 3}, "name": 1}, "name takes text, not 1"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Outer.from_dict(values)


def test_a_config_of_another_architecture_is_an_error() -> None:
    with pytest.raises(ConfigError, match="invalid config of the architecture 'vit': there is no option"):
        read_config("vit", config_of("resnet18").to_dict())
    with pytest.raises(ConfigError, match="'detr': backbone and backbone_config must be given"):
        read_config("detr", {})


def test_a_data_config_from_a_model_directory() -> None:
    config = read_data_config({"path": "scenes", "scenes": {"size": [64, 48], "train": 5}})
    assert config == DataConfig(path="scenes", scenes=ScenesConfig(size=(64, 48), train=5))
    with pytest.raises(ConfigError, match=r"there is no option data\.scenes\.sizes; did you mean data\.scenes\.size\?"):
        read_data_config({"scenes": {"sizes": 1}})
