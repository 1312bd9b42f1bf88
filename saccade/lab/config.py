"""The content of a study's file as plain data. Loads no torch."""

from dataclasses import dataclass, field
from typing import Any, Literal

from saccade.config_io import Count, Seed


@dataclass(frozen=True)
class PanelConfig:
    """One plot of a study's report, with its table."""

    metric: str  # of the test split, else of the validation split; or a number that a measure gives; or a cost
    x: str = ""  # axis of the plot, a number of each run, or "layer"; "": the first axis of numbers, else the first
    lines: str = ""  # axis with a line for each level; "": the other axes
    as_error: bool = False  # shows 1 - metric
    title: str = ""  # above the plot
    # Cost C of the scaling law E = a + b (C + c)^-d that is fitted to the runs of each line: a number of each run, such
    # as flops, params or inputs, or an axis of numbers. joint: E = a + b N^-p + c D^-q of parameters and inputs seen.
    fit: str = ""
    frontier: bool = False  # the law is fitted to the runs that no cheaper point of the grid beats


@dataclass(frozen=True)
class StageConfig:
    """A run whose model the runs of the grid start from: pre-training, or a teacher."""

    recipe: str = ""  # that it starts from; "": the default of the task, data and model
    set: dict[str, Any] = field(default_factory=dict)  # its options, by dotted name; those of the grid are not its own
    follows: tuple[str, ...] = ()  # axes of the grid whose options are also its own


@dataclass(frozen=True)
class ExpectationConfig:
    """An expectation stated before the runs: an order of the levels of an axis by a metric."""

    claim: str  # in words, such as "A ConvNet needs less data than a ViT"
    metric: str
    axis: str  # of the grid; or layer, for a metric with a number for each layer
    order: Any  # levels from the lowest value to the highest; or rising or falling, from the first level to the last
    as_error: bool = False  # of 1 - metric
    at: dict[str, Any] = field(default_factory=dict)  # other axis -> levels at which it is expected; all unless named


@dataclass(frozen=True)
class TuneConfig:
    """An equal search for each level of an axis: `saccade lab tune`."""

    axis: str  # whose levels are the sides
    # option -> [a, b, c], or {low: 1e-4, high: 1e-2, log: true} (whole numbers if both ends are)
    space: dict[str, Any]
    metric: str  # of the validation split
    trials: Count = 10  # of each side
    direction: Literal["maximize", "minimize"] = "maximize"
    at: dict[str, Any] = field(default_factory=dict)  # other axis -> level of the trials; the first unless named
    set: dict[str, Any] = field(default_factory=dict)  # options of the trials alone, such as a validation split
    seed: Seed = 1000  # of the trials' runs and of the search; not one of the study's


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
    expectation: tuple[ExpectationConfig, ...] = ()
    tune: TuneConfig | None = None
    tuned: dict[str, Any] = field(default_factory=dict)  # level -> trials, best value, options; written by lab tune
    run_reports: bool = False  # whether every run has its own report.html and model card
