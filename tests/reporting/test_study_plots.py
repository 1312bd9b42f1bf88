"""Plots of a study: labels that do not overlap, points that do not hide each other."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from saccade.reporting.study_plots import Marker, study_figure


def line(xs: list, low: float = 0.01, factor: float = 2.0, cost: float = 1e9) -> list[Marker]:
    values = [low * factor**i for i in range(len(xs))]
    return [
        Marker(x, cost * (i + 1), v, (v / 3, 2 * v), (v * 0.9, v * 1.1)) for i, (x, v) in enumerate(zip(xs, values))
    ]


def overlapping(axes: Axes, which: str) -> list[tuple[str, str]]:
    """Neighbouring labels of an axis that share pixels."""
    labels = [one for one in getattr(axes, f"get_{which}ticklabels")(which="both") if one.get_text()]
    boxes = sorted((getattr(box, f"{which}0"), getattr(box, f"{which}1"), text) for box, text in (
        (one.get_window_extent(), one.get_text()) for one in labels
    ))  # fmt: skip
    return [(a[2], b[2]) for a, b in pairwise(boxes) if a[1] > b[0]]


@pytest.mark.parametrize(
    "xs",
    [[14, 144, 1437], [1_875_260_160, 3_988_500_480], [50, 100, 200, 400, 800], [1, 2, 3, 4], [1000, 1010, 1020, 50000],
     ["nowhere", "the encoder's input", "keys of the decoder", "queries and keys of every attention"]],
    ids=str,
)  # fmt: skip
def test_labels_do_not_overlap(xs: list) -> None:
    figure = study_figure(
        {"one": line(xs, cost=3.1e10), "another": line(xs, 0.02, cost=1.5e11)}, "x", "y", legend="side"
    )
    FigureCanvasAgg(figure).draw()
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert overlapping(axes, "x") == []
        assert overlapping(axes, "y") == []
        assert any(one.get_text() for one in axes.get_xticklabels())


def test_lines_of_one_level_lie_side_by_side_below_their_legend() -> None:
    figure = study_figure({"one": line([1, 2, 3]), "another": line([1, 2, 3])}, "layer", "distance", legend="model")
    places = [np.asarray(artist.get_xdata())[0] for artist in figure.axes[0].lines]
    assert places == [pytest.approx(0.9), pytest.approx(1.1)]
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "model"
    assert legend.get_window_extent().y0 >= figure.axes[0].get_window_extent().y1


def test_an_interval_does_not_stretch_a_logarithmic_axis() -> None:
    """Runs between 0.009 and 0.2, and an interval that reaches 1e-9."""
    markers = [Marker(1, 1e9, 0.01, (1e-9, 0.02), (0.009, 0.011)), Marker(2, 2e9, 0.2, (0.1, 0.3), (0.2, 0.2))]
    axes = study_figure({"": markers}, "x", "y").axes[0]
    assert axes.get_yscale() == "log"
    assert 0.004 < axes.get_ylim()[0] < 0.009


def test_compute_that_does_not_differ_along_a_line_has_no_plot() -> None:
    same = [Marker(x, 1e9, 0.1, None, (0.1,)) for x in (1, 2)]
    assert len(study_figure({"a": same}, "x", "y").axes) == 1
    assert len(study_figure({"a": line([1, 2])}, "x", "y").axes) == 2


def test_levels_are_labelled_with_as_many_digits_as_can_be_read() -> None:
    axes = study_figure({"": line([0.5, 50_000])}, "x", "y").axes[0]
    assert [one.get_text() for one in axes.get_xticklabels()] == ["0.5", "50,000"]
    axes = study_figure({"": line([1_875_260_160, 3_988_500_480])}, "FLOPs", "y").axes[0]
    assert [one.get_text() for one in axes.get_xticklabels()] == [r"$1.88 \times 10^{9}$", r"$3.99 \times 10^{9}$"]
