"""What a study's report states: expectations, budgets, scaling laws, all on planted results."""

import csv
import random
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from saccade.cli.main import main
from saccade.errors import ConfigError
from saccade.lab.expectation import findings, first_paragraph
from saccade.lab.report import draw, interval_text, write_study_report
from saccade.lab.results import collect, points
from saccade.lab.scaling import fit_lines
from saccade.lab.study import read_study
from tests.lab.planted import planted

TWO = """
title: Two families
recipe: digits
grid:
  model: {A: {model.name: vit_digits}, B: {model.name: conv_vit_digits}}
  data.train_size: [100, 400, 1437]
seeds: [0, 1, 2]
expectation:
  - {claim: A has the lower error, metric: accuracy, as_error: true, axis: model, order: [A, B]}
  - {claim: More images help, metric: accuracy, as_error: true, axis: data.train_size, order: falling}
  - {claim: A is better with few images, metric: accuracy, axis: model, order: [B, A], at: {data.train_size: [100]}}
report: {metric: accuracy, as_error: true, x: data.train_size, lines: model}
"""


def two(levels: dict, seed: int) -> float:
    """B is better by 0.1 except at 100 images, where A is better by 0.1; more images help A and do nothing for B but
    scatter."""
    if levels["model"] == "A":
        return {100: 0.3, 400: 0.2, 1437: 0.19}[levels["data.train_size"]] + 0.001 * seed
    return {100: 0.4, 400: 0.1, 1437: 0.09}[levels["data.train_size"]] + 0.001 * seed


def test_the_first_paragraph_is_what_went_against_expectation(tmp_path: Path) -> None:
    folder, study = planted(tmp_path, TWO, two, flops=lambda levels: 1e9 if levels["model"] == "A" else 3e9)
    results = findings(study, collect(folder, study))
    assert [finding.verdict for finding in results] == ["contradicted", "confirmed", "confirmed"]
    assert [one.verdict for one in results[0].comparisons] == ["confirmed", "contradicted", "contradicted"]
    text = first_paragraph(results, 3)
    assert text.startswith(
        "Contrary to expectation: “A has the lower error” does not hold (1 - accuracy 0.201 of A against"
    )
    assert "at data.train_size 100" not in text
    assert text.endswith("As expected: “More images help”; “A is better with few images”.")
    page = write_study_report(folder, study)[0].read_text()
    assert page.index("Contrary to expectation") < page.index('class="tiles"')
    assert "B had 3 times the FLOPs of A" in page
    assert "No side was tuned" in page


def test_what_seeds_do_not_decide_is_neither(tmp_path: Path) -> None:
    """A difference of 0.01 within a scatter of 0.1 over the seeds."""
    folder, study = planted(tmp_path, TWO, lambda levels, seed: 0.3 + 0.01 * (levels["model"] == "B") * (10 * seed - 9))
    results = findings(study, collect(folder, study))
    assert [finding.verdict for finding in results] == ["undecided"] * 3
    assert first_paragraph(results, 3).startswith("No expectation was contradicted. Not decided by 3 seeds:")
    assert "“A has the lower error” (its means are the other way)" not in first_paragraph(results, 3)
    row = points(study, study.config.report[0], collect(folder, study))[0]
    assert interval_text(replace(row, values=(0.01, 0.01, 0.3))) == "0.0000 to 0.5226"
    assert interval_text(replace(row, values=(-0.01, 0.3))).startswith("-")
    assert interval_text(replace(row, values=(0.3,))) == ""
    assert first_paragraph([], 3) == "The study's file states no expectation that its runs could contradict."


def test_intervals_are_those_of_paired_differences(tmp_path: Path) -> None:
    """Differences 0.1, 0.2, 0.3: mean 0.2, standard error 0.1 / sqrt(3), Student's t of 2 degrees 4.3027."""
    folder, study = planted(
        tmp_path, TWO, lambda levels, seed: 0.2 + seed / 7 + (levels["model"] == "B") * 0.1 * (seed + 1)
    )
    interval = findings(study, collect(folder, study))[0].comparisons[0].interval
    assert interval is not None
    assert interval == pytest.approx((0.2 - 4.302653 * 0.1 / 3**0.5, 0.2 + 4.302653 * 0.1 / 3**0.5), rel=1e-5)


def test_the_table_as_parquet_is_the_csv(tmp_path: Path) -> None:
    folder, study = planted(tmp_path, TWO, two)
    write_study_report(folder, study, parquet=True)
    table = parquet.read_table(folder.path / "results.parquet").to_pylist()
    with open(folder.path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(table) == len(rows) == 18
    assert [{name: str(value) for name, value in row.items()} for row in table] == rows
    assert isinstance(table[0]["flops"], float)
    assert isinstance(table[0]["seed"], int)


def test_unequal_tuning_is_stated(tmp_path: Path) -> None:
    tune = "tune: {axis: model, metric: accuracy, space: {optimizer.lr: [0.001, 0.01]}}\n"
    for record, sentence in (
        ("tuned: {A: {trials: 5}, B: {trials: 5, at_edge: [optimizer.lr]}}", "Each side had 5 trials of tuning"),
        ("tuned: {A: {trials: 5}, B: {trials: 9}}", "Tuning was not equal: trials of A 5, B 9."),
        ("tuned: {A: {trials: 5}}", "Tuning was not equal: trials of A 5; none of B."),
    ):
        (tmp_path / sentence).mkdir()
        folder, study = planted(tmp_path / sentence, TWO + tune + record, two)
        page = write_study_report(folder, study)[0].read_text()
        assert sentence in page
        assert ("Best values at an edge of the space" in page) == ("at_edge" in record)


SCALING = """
title: A family of models
recipe: digits
grid:
  schedule.steps: [3, 10, 32, 100, 316, 1000, 3162, 10000]
seeds: [0, 1]
report: {metric: accuracy, as_error: true, fit: flops}
"""


def test_a_planted_law_is_fitted_and_checked_on_the_largest_run(tmp_path: Path) -> None:
    generator = random.Random(0)
    folder, study = planted(
        tmp_path,
        SCALING,
        lambda levels, seed: (
            (0.12 + 0.63 * (levels["schedule.steps"] / 100 + 0.52) ** -0.32) * generator.gauss(1, 0.01)
        ),
        flops=lambda levels: levels["schedule.steps"] / 100,
    )
    (fit,) = fit_lines(study, study.config.report[0], collect(folder, study))
    assert fit.law is not None
    assert len(fit.law.errors) == 14
    held_out = fit.law.held_out  # type: ignore[union-attr]
    assert [one.cost for one in held_out] == [100.0, 100.0]
    assert held_out[0].predicted.error == pytest.approx(0.12 + 0.63 * 100.52**-0.32, rel=0.04)
    page = write_study_report(folder, study)[0].read_text()
    assert "held out, cost 100: predicted" in page
    assert "compute-optimal frontier" in page


def test_few_shot_error_is_a_second_axis(tmp_path: Path) -> None:
    """A law of its own for the error of ten shots, beside that of the test error, which does not fall."""
    text = SCALING.replace(
        "report: {metric: accuracy, as_error: true, fit: flops}",
        "measures: [few_shot]\nreport:\n  - {metric: accuracy, as_error: true, x: flops}\n"
        "  - {metric: error_10_shot, x: flops, fit: flops}",
    )
    generator = random.Random(1)

    def ten_shots(levels: dict, seed: int) -> dict:
        error = (0.12 + 0.63 * (levels["schedule.steps"] / 100 + 0.52) ** -0.32) * generator.gauss(1, 0.01)
        return {"few_shot": {"error_10_shot": error}}

    folder, study = planted(
        tmp_path, text, lambda levels, seed: 0.5, flops=lambda levels: levels["schedule.steps"] / 100,
        measures=ten_shots,
    )  # fmt: skip
    (fit,) = fit_lines(study, study.config.report[1], collect(folder, study))
    assert fit.law is not None
    for cost in (0.03, 1.0, 31.62):
        assert fit.law.error(cost) == pytest.approx(0.12 + 0.63 * (cost + 0.52) ** -0.32, rel=0.03)  # type: ignore[union-attr]
    group = points(study, study.config.report[1], collect(folder, study))
    assert [point.x for point in group] == [steps / 100 for steps in study.levels("schedule.steps")]
    (axes,) = draw(study, study.config.report[1], group).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training compute (FLOPs)", "10-shot error")


def test_labels_and_folders_reach_the_terminal_escaped(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    text = TWO.replace("model: {A:", 'model: {"A\\e[31m":').replace("[A, B]", '["A\\e[31m", B]')
    text = text.replace("[B, A]", '[B, "A\\e[31m"]')
    (tmp_path / "\x1b]0;title").mkdir()
    folder, _ = planted(tmp_path / "\x1b]0;title", text, lambda levels, seed: 0.3)
    (folder.path / "study.yaml").write_text(text)
    for command in (["status"], ["report"], ["run", "--output"]):
        study = [str(folder.path / "study.yaml")] if command[0] == "run" else []
        assert main(["lab", command[0], *study, *command[1:], str(folder.path)]) == 0
        output = capsys.readouterr()
        assert "\x1b" not in output.out + output.err
        assert ("A\\x1b[31m" in output.out) == (command[0] == "status")
        assert ("\\x1b]0;title" in output.out) == (command[0] != "status")
    assert "\\x1b]0;title" in output.err


def test_the_frontier_and_what_a_budget_should_buy(tmp_path: Path) -> None:
    """Errors 0.05 + 8 N^-0.3 + 6 D^-0.35 at a cost of 6 N D: the joint law is recovered, and divides the budget as the
    closed form of its minimum."""
    text = """
title: Model and data
recipe: digits
grid:
  params: {10000: {optimizer.eps: 1.0e-6}, 100000: {optimizer.eps: 1.0e-7}, 1000000: {optimizer.eps: 1.0e-9}}
  schedule.steps: [1000, 10000, 100000]
seeds: [0]
report: {metric: accuracy, as_error: true, x: flops, lines: params, fit: joint}
"""
    folder, study = planted(
        tmp_path, text,
        lambda at, seed: 0.05 + 8 * at["params"] ** -0.3 + 6 * at["schedule.steps"] ** -0.35,
        flops=lambda at: 6.0 * at["params"] * at["schedule.steps"],
    )  # fmt: skip
    panel = study.config.report[0]
    assert panel.lines == "params"
    (fit,) = fit_lines(study, type(panel)(**{**vars(panel), "lines": ""}), collect(folder, study))
    budget, best = fit.allocations[0]
    assert budget == pytest.approx(6e11)
    ratio = (0.3 * 8) / (0.35 * 6)
    assert best.params == pytest.approx(ratio ** (1 / 0.65) * (1e11) ** (0.35 / 0.65), rel=0.02)
    assert fit.optima[0].levels["params"] == 10000
    assert fit.optima[-1].cost == pytest.approx(6e11)


def test_a_fit_that_is_not_possible_is_a_sentence(tmp_path: Path) -> None:
    folder, study = planted(
        tmp_path, SCALING.replace("[3, 10, 32, 100, 316, 1000, 3162, 10000]", "[3, 10]"), lambda levels, seed: 0.3
    )
    page = write_study_report(folder, study)[0].read_text()
    assert "No law was fitted: four parameters need runs at five different costs or more" in page


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("order: [A, B]", "order: [A, C]", "order must list two or more of its levels (A, B), or rising or falling"),
        ("axis: model, order: [A", "axis: family, order: [A", "expectation[0].axis must be an axis of the grid"),
        ("data.train_size: [100]}", "data.train_size: [7]}", "expectation[2].at.data.train_size must list levels"),
        ("lines: model}", "lines: model, fit: cost}", "report.fit must be params, inputs, flops"),
        ("lines: model}", "lines: model, fit: model}", "report.fit: the levels of model are no numbers"),
    ],
)
def test_refusals(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TWO
    (tmp_path / "study.yaml").write_text(TWO.replace(old, new))
    with pytest.raises(ConfigError) as error:
        read_study(tmp_path / "study.yaml")
    assert message in str(error.value)
