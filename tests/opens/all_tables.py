"""Every generated table: what the pages are compared with."""

from tests.analysis import cells
from tests.opens import checkpoints, data
from tests.opens.tables import Table


def all_tables() -> list[Table]:
    return [*data.tables(), *checkpoints.tables(), *cells.tables()]
