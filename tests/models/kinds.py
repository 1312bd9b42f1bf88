"""One model of the catalogue for each structure: models of several sizes differ in numbers alone."""

from typing import Any

from saccade.models.catalogue import ZOO
from saccade.models.cost_table import read_costs
from saccade.models.zoo import config_of


def structure(value: Any) -> Any:
    """The options of a config without its numbers."""
    if isinstance(value, dict):
        return tuple((name, structure(part)) for name, part in value.items())
    return value if isinstance(value, bool | str | None) else type(value).__name__


def smallest_models() -> list[str]:
    """The smallest model of each architecture and structure."""
    sizes = {name: row.params for name, row in read_costs().items()}
    names = sorted(ZOO, key=sizes.__getitem__, reverse=True)
    return list({(ZOO[name], structure(config_of(name).to_dict())): name for name in names}.values())
