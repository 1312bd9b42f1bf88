"""Parameters and multiply-adds of every model as a table of numbers, so that a list of them needs no torch.

`python benchmarks/models_table.py --costs` measures them again and writes `costs.csv`; a test compares every row with
the model.
"""

import csv
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class CostRow:
    """Cost of a named model for one input of its default size.

    Attributes:
        name: of the model.
        params: number of parameters.
        macs: multiply-adds of every matrix product, convolution and attention for one input.
        image_size: (H, W) of its images in pixels; None for a text model.
        tokens: length of its texts; None for an image model.
    """

    name: str
    params: int
    macs: int
    image_size: tuple[int, int] | None
    tokens: int | None

    @property
    def gmacs(self) -> float:
        """Multiply-adds in units of 10⁹."""
        return self.macs / 1e9


def read_costs() -> dict[str, CostRow]:
    """Model name -> its row, in the order of :func:`saccade.list_models`."""
    text = resources.files("saccade").joinpath("models", "costs.csv").read_text(encoding="utf-8")
    rows = {}
    for row in csv.DictReader(text.splitlines()):
        size = (int(row["height"]), int(row["width"])) if row["height"] else None
        tokens = int(row["tokens"]) if row["tokens"] else None
        rows[row["name"]] = CostRow(row["name"], int(row["params"]), int(row["macs"]), size, tokens)
    return rows
