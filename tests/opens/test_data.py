"""Every layout that docs/data.md lists opens, with the right values, in `data check` and in training alike."""

import importlib.util
from pathlib import Path

import pytest

from saccade.data.config import DataConfig
from saccade.tasks import table
from tests.opens.data import Layout, layouts, values

LAYOUTS = layouts()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.task}-{layout.name}")
def test_it_opens_with_the_right_values(layout: Layout, tmp_path: Path) -> None:
    if layout.extra and importlib.util.find_spec(layout.extra) is None:
        pytest.skip(f"needs {layout.extra}")
    path = layout.write(tmp_path)
    room = table.room(layout.task)
    splits = room.open_data(str(path), DataConfig(val_fraction=0.0, test_fraction=0.0))
    assert values(splits) == layout.expected
    assert splits.classes == layout.classes
    report = room.check(str(path))
    assert report.ok, str(report)


def test_names_are_different() -> None:
    names = [(layout.task, layout.name) for layout in LAYOUTS]
    assert len(set(names)) == len(names)
