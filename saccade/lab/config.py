"""The content of a study's file, as plain data. Loads no torch."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PanelConfig:
    """One plot of a study's report, with its table."""

    metric: str  # of the test split, else of the validation split; or a number that a measure gives; or a cost
    x: str = ""  # axis of the plot, a number of each run, or "layer"; "": the first axis of numbers, else the first
    lines: str = ""  # axis with a line for each level; "": the other axes
    as_error: bool = False  # shows 1 - metric
    title: str = ""  # above the plot


@dataclass(frozen=True)
class StageConfig:
    """A run before those of the grid, which start from its model: pre-training, or a teacher."""

    recipe: str = ""  # that it starts from; "": the default of the task, data and model
    set: dict[str, Any] = field(default_factory=dict)  # its options, by dotted name; those of the grid are not its own
    follows: tuple[str, ...] = ()  # axes of the grid whose options are also its own


@dataclass(frozen=True)
class StudyConfig:
    """The content of a study's file."""

    title: str
    grid: dict[str, Any]
    report: tuple[PanelConfig, ...]
    recipe: str = ""  # that every run starts from; "": the default of the task, data and model
    set: dict[str, Any] = field(default_factory=dict)  # options of every run, by dotted name
    seeds: tuple[int, ...] = (0, 1, 2)
    stages: dict[str, Any] = field(default_factory=dict)  # name -> StageConfig
    measures: tuple[Any, ...] = ()  # of every finished model: see saccade/lab/measures.py
    run_reports: bool = False  # whether every run has its own report.html and model card
