"""The report: self-contained, escaped, complete, and whole in a browser."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from saccade.analysis.attention_distance import AttentionDistance
from saccade.analysis.attention_maps import Explanation
from saccade.analysis.patch_filters import PatchFilters
from saccade.reporting.attention_plots import draw_distances
from saccade.reporting.draw import explain_figure, overlay
from saccade.reporting.inside import inside_section
from saccade.reporting.model_card import model_card
from saccade.reporting.plots import draw_reliability, figure_of, position_grid
from saccade.reporting.report import Report, render_report
from saccade.tasks import table
from saccade.tasks.classification.metrics import ClassificationMetrics, ClassMetrics
from saccade.tasks.classification.report import (
    Mistake,
    calibration,
    classification_section,
    classification_tiles,
    common_confusions,
)

EVIL = "<script>alert(1)</script>"


def explanation(name: str = "a.jpg", label: str = "cat") -> Explanation:
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    return Explanation(name, label, 0.9, image, np.eye(2, 3), np.ones((2, 2, 3)), "encoder.blocks.0.attn")


LABELS = ("cat", EVIL)
METRICS = ClassificationMetrics(
    0.75, None, 0.5, 0.1, 4, tuple(ClassMetrics(label, 0.5, 0.5, 0.5, 2) for label in LABELS),
    ((2, 0), (1, 1)), ((0.9, 0.8, 4),),
)  # fmt: skip


def data() -> Report:
    rows = [{"epoch": i, "loss": 1 / i, "accuracy": 0.5, "val_accuracy": 0.4, "lr": 0.1} for i in (1, 2, 3)]
    results = classification_section(METRICS, LABELS, [Mistake(EVIL, explanation(EVIL))], [explanation()])
    inside = inside_section(
        np.eye(4).reshape(2, 2, 2, 2), PatchFilters(np.random.rand(5, 4, 4, 3), np.ones(5) / 5),
        AttentionDistance(("a", "b"), np.ones((4, 2, 3))),
    )  # fmt: skip
    return Report(
        title=f"vit on {EVIL}", note="four images", tiles={**classification_tiles(METRICS), "training": "3 s"},
        rows=rows, sections=[results, inside], phase_seconds={"forward": 2.0, "data": 1.0},
        config=f"model: {EVIL}", environment={"torch": "2", "gpu": None}, command="saccade train",
    )  # fmt: skip


def test_nothing_is_loaded_from_anywhere_and_names_are_text() -> None:
    page = render_report(data())
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", page)
    assert not re.search(r"url\((?!#)", page)
    assert "<script" not in page
    for part in (
        "75.00 %",
        "Training curves",
        "Confusion matrix",
        "Classes",
        "Most confident errors",
        "Inside the model",
        "Reproduce",
    ):
        assert part in page


def test_a_head_without_a_distance_is_not_drawn() -> None:
    defined, one_missing = np.array([[2.0, 4.0], [3.0, 5.0]]), np.array([[2.0, np.nan], [np.nan, np.nan]])
    assert "Not drawn" not in inside_section(None, None, AttentionDistance(("a", "b"), defined[None]))
    section = inside_section(None, None, AttentionDistance(("a", "b"), one_missing[None]))
    assert "Not drawn: 3 heads without attention to any patch." in section
    assert "nan" not in section.lower()


def test_a_plot_goes_on_the_axes_that_it_is_given() -> None:
    mine = Figure().subplots(1, 2)
    distance = AttentionDistance(("a", "b"), np.ones((4, 2, 3)))
    assert draw_distances(distance, mine[0]) is mine[0]
    assert draw_reliability([(0.9, 0.8, 4)], mine[1]) is mine[1]
    assert mine[0].get_xlabel() == "layer"
    assert mine[1].get_ylabel() == "accuracy"
    own = draw_distances(distance)
    assert figure_of(own).axes == [own]


def test_a_report_of_almost_nothing() -> None:
    page = render_report(Report(title="empty", sections=[inside_section(None, None, None)]))
    assert "empty" in page
    assert "Confusion" not in page


def test_many_classes_list_their_commonest_confusions() -> None:
    confusion = np.zeros((50, 50), int)
    confusion[3, 4], confusion[7, 1] = 9, 5
    labels = [f"c{i}" for i in range(50)]
    assert common_confusions(confusion.tolist(), labels) == [("c3", "c4", 9), ("c7", "c1", 5)]


def test_the_overlay_glows_where_attention_is() -> None:
    grey = np.full((40, 40, 3), 128, np.uint8)
    attention = np.zeros((2, 2))
    attention[0, 0] = 1.0
    drawn = overlay(grey, attention).astype(int)
    assert min(drawn.shape[:2]) >= 256
    assert drawn[5, 5].sum() > drawn[-5, -5].sum() + 60
    assert np.isfinite(overlay(grey, np.zeros((2, 2)))).all()


def test_the_figure_has_a_picture_for_the_input_the_rollout_and_each_head() -> None:
    figure = explain_figure([explanation(), explanation("b.jpg", "a$b")])
    assert sum(len(axes.get_images()) for axes in figure.axes) == 2 * 4
    with pytest.raises(ValueError, match="nothing"):
        explain_figure([])


def test_the_position_picture_has_a_tile_for_every_place() -> None:
    picture = position_grid(np.random.rand(3, 4, 3, 4))
    assert picture.shape == (3 * 36 + 6, 4 * 48 + 9, 3)


def test_the_model_card_has_front_matter() -> None:
    import yaml

    provenance = {
        "data": {"name": "photos", "images": {"train": 10}}, "result": {"split": "test", "accuracy": 0.75},
        "seed": 0, "init": None, "recipe": "scratch", "steps": 5, "seconds": 1.0,
    }  # fmt: skip
    card = model_card(
        name="run",
        architecture="vit",
        labels=("a", "b"),
        provenance=provenance,
        preprocessing="x",
        metrics=METRICS,
        card=table.room("classification").card(),
    )
    front = yaml.safe_load(card.split("---")[1])
    assert front["model-index"][0]["results"][0]["metrics"][1]["value"] == 0.75


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.slow
def test_the_page_opens_in_a_browser_without_a_complaint(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(render_report(data()))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    done = subprocess.run(
        [*command, f"file://{tmp_path / 'report.html'}"], capture_output=True, text=True, timeout=120, check=True
    )
    assert "Reproduce" in done.stdout
    assert "alert(1)</script>" not in done.stdout.replace("&lt;/script&gt;", "")
    assert "CONSOLE" not in done.stderr


def test_the_calibration_is_described_by_its_numbers() -> None:
    def text(confidence: float, accuracy: float) -> str:
        error = abs(confidence - accuracy)
        metrics = replace(METRICS, accuracy=accuracy, calibration_error=error, reliability=((confidence, accuracy, 4),))
        return calibration(metrics)

    assert "agree" in text(0.81, 0.80)
    assert "95.0% is above the accuracy of 75.0%: the model is overconfident" in text(0.95, 0.75)
    assert "underconfident" in text(0.6, 0.9)
