"""Measures of finished runs, and runs that start from the models of others."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from saccade.analysis.attention_distance import measure_attention_distance
from saccade.analysis.inputs import open_images
from saccade.analysis.probing import probe
from saccade.analysis.robustness import robustness
from saccade.cli.main import main
from saccade.data.image_folder import open_data
from saccade.data.samples import ImageSource
from saccade.engine.evaluation import evaluate
from saccade.engine.features import extract
from saccade.errors import ConfigError
from saccade.lab.driver import run_study
from saccade.lab.jobs import StudyDirectory
from saccade.lab.report import write_study_report
from saccade.lab.study import Study, read_study
from saccade.models.cost import measure_cost
from saccade.nn.matmul_precision import MatmulPrecisionChoice
from saccade.tasks.loading import load
from saccade.training import resume

COMMON = "batch_size: 16, preflight: false, data.check: 'off', data.workers: 0, data.digits.val: 0"
STUDY = f"""
title: A small study
recipe: digits
set: {{model.name: vit_digits, model.options: {{depth: 2}}, schedule.steps: 3, {COMMON}}}
stages:
  masked:
    recipe: mae_digits
    set: {{schedule.steps: 2, model.options: {{depth: 2, decoder_depth: 1}}, {COMMON}}}
  teacher:
    recipe: digits
    set: {{schedule.steps: 2, model.name: lenet, model.image_size: [16, 16], {COMMON}}}
    follows: [data.train_size]
grid:
  start:
    fresh: {{}}
    masked: {{model.init: {{stage: masked}}, model.options: {{}}}}
    distilled: {{distillation.teacher: {{stage: teacher}}}}
  data.train_size: [32, 64]
seeds: [0]
measures:
  - evaluation: {{image_size: [24, 24]}}
  - attention_distance: {{images: 8}}
  - attention_distance: {{images: 8, weights: initial, prefix: initial_}}
  - robustness: {{images: 16, corruptions: [gaussian_noise, fog], levels: {{start: [fresh]}}}}
  - calibration
  - head_importance: {{images: 16}}
  - cost
  - few_shot: {{shots: 5}}
report:
  - {{metric: accuracy, x: data.train_size, as_error: true}}
  - {{metric: attention_distance, x: layer, lines: start, title: How far heads look}}
  - {{metric: corrupted_error, x: cpu_ms, lines: start}}
"""


OWN = 7  # images of a data set of one's own


def write_digits(path: Path) -> None:
    """The first test digits as a folder of images with class folders."""
    test = cast(ImageSource, open_data("digits").test)
    for index in range(OWN):
        place = path / test.classes[int(test.labels[index])] / f"{index}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        cast(Image.Image, test.image(index)).save(place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> StudyDirectory:
    path = tmp_path_factory.mktemp("study")
    write_digits(path / "mine")
    own = f"  - cost\n  - evaluation: {{data: {path / 'mine'}, levels: {{start: [fresh]}}}}\n"
    (path / "study.yaml").write_text(STUDY.replace("  - cost\n", own))
    choice = MatmulPrecisionChoice("highest", "fixed")
    with pytest.MonkeyPatch.context() as patch:  # the choice takes longer than these runs
        patch.setattr(resume, "choose_matmul_precision", lambda *_, **__: choice)
        outcome = run_study(read_study(path / "study.yaml"), path / "out", threads=1)
    assert (outcome.failed, outcome.done) == ({}, 9)
    return StudyDirectory(path / "out")


@pytest.fixture(scope="module")
def study(folder: StudyDirectory) -> Study:
    return StudyDirectory.existing(folder.path)[1]


def test_measures_are_those_of_the_analyses(folder: StudyDirectory, study: Study) -> None:
    job = study.jobs[0]
    result = folder.result(job)
    assert result is not None
    values, model = result.values, folder.jobs / job.id
    predictor = load(model)
    larger = evaluate(load(model, image_size=24), "digits").metrics.scalars()
    assert values["accuracy_at_24x24"] == larger["accuracy"]
    images = open_images(predictor, "digits", limit=8)
    distance = measure_attention_distance(predictor, images).pixels
    assert values["attention_distance"] == pytest.approx(distance.mean(axis=1))
    assert values["attention_distance_farthest_head"] == pytest.approx(distance.max(axis=1))
    assert values["initial_attention_distance"] != values["attention_distance"]
    errors = robustness(
        predictor, open_images(predictor, "digits", limit=16), corruptions=["gaussian_noise", "fog"]
    ).errors
    assert values["corrupted_error"] == pytest.approx(errors.mean())
    assert values["corrupted_error_by_severity"] == pytest.approx(errors.mean(axis=0))
    assert values["macs"] == measure_cost(predictor.model).macs
    assert isinstance(values["cpu_ms"], float)
    assert values["cpu_ms"] > 0
    splits = open_data("digits", job.config.data)
    assert splits.test is not None
    train, test = (
        extract(predictor, cast(ImageSource, part), splits.fingerprint) for part in (splits.train, splits.test)
    )
    shots = probe(train.values, train.labels, test.values, test.labels, shots=[5]).few_shot[0]
    assert values["error_5_shot"] == pytest.approx(1 - shots.mean)
    assert len(np.asarray(values["head_importance"])) == 2
    assert 0 <= float(str(values["calibration_error"])) <= 1
    assert result.cpu_seconds > 0


def test_accuracy_on_other_data(folder: StudyDirectory, study: Study) -> None:
    """On a folder of the first test digits: the share of them whose class is the predicted one."""
    result = folder.result(study.jobs[0])
    assert result is not None
    predictor = load(folder.jobs / study.jobs[0].id)
    files = sorted((folder.path.parent / "mine").glob("*/*.png"))
    assert len(files) == OWN
    right = sum(predictor.predict([file])[0].label == file.parent.name for file in files)
    assert result.values["accuracy_on_mine"] == pytest.approx(right / OWN)
    assert not any(
        "accuracy_on_mine" in folder.result(job).values  # type: ignore[union-attr]
        for job in study.jobs if job.levels["start"] != "fresh"
    )  # fmt: skip


def test_a_measure_is_taken_at_its_levels_alone(folder: StudyDirectory, study: Study) -> None:
    measured = {job.levels["start"]: "corrupted_error" in folder.result(job).values for job in study.jobs}  # type: ignore
    assert measured == {"fresh": True, "masked": False, "distilled": False}


def test_runs_start_from_the_models_of_their_stages(folder: StudyDirectory, study: Study) -> None:
    """The pre-training is done once for both data sizes, the teacher once for each, on its student's images."""
    stages = [job for job in study.runs if job.stage]
    assert [job.stage for job in stages] == ["masked", "teacher", "teacher"]
    assert sorted(job.config.data.train_size or 0 for job in stages) == [0, 32, 64]
    for job in study.jobs:
        result = folder.result(job)
        assert result is not None
        if job.levels["start"] == "fresh":
            assert (result.stage_flops, dict(job.needs)) == (0, {})
            continue
        ((option, id),) = job.needs.items()
        before = folder.result_of(id)
        assert before is not None
        assert result.stage_flops == before.flops > 0
        assert result.values["flops"] == result.flops + before.flops
        if option == "distillation.teacher":
            (stage,) = (one for one in stages if one.id == id)
            assert stage.config.data.train_size == job.levels["data.train_size"]


def test_a_study_with_another_measure_trains_nothing_again(
    folder: StudyDirectory, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = STUDY.replace("  - calibration\n", "  - calibration\n  - evaluation: {split: train}\n")
    (tmp_path / "more.yaml").write_text(text)
    monkeypatch.setattr("saccade.lab.jobs.train", None)
    more = read_study(tmp_path / "more.yaml")
    assert not any(folder.done(job) for job in more.jobs)
    assert run_study(replace(more, runs=more.runs[:2]), folder.path, threads=1).done == 2
    result = folder.result(more.jobs[0])
    assert result is not None
    assert "train_accuracy" in result.values


def test_the_report_has_a_plot_for_each_entry(folder: StudyDirectory, study: Study) -> None:
    page, shown = write_study_report(folder, study)
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "How far heads look" in text
    assert "FLOPs before" in text
    assert [len(group) for group in shown] == [6, 12, 2]
    assert [point.x for point in shown[1][:2]] == [1, 2]
    assert (folder.path / "figure-3.png").is_file()
    header = (folder.path / "results.csv").read_text().splitlines()[0].split(",")
    assert {"attention_distance_1", "attention_distance_2", "error_5_shot", "stage_flops"} <= set(header)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("robustnes", "there is no measure 'robustnes'; there are evaluation"),
        (
            "robustness: {image: 3}",
            "did you mean measures[0].robustness.images",
        ),
        ("cost: {levels: {start: [new]}}", "there is no level 'new'; there are fresh, masked"),
        ("cost: {levels: {begin: [fresh]}}", "there is no axis 'begin'"),
        ("cost\n  - cost", "the measure cost is there twice"),
        ("few_shot: {shots: 0}", "measures[0].few_shot.shots must be at least 1, not 0"),
    ],
)
def test_refused_measures(tmp_path: Path, measure: str, message: str) -> None:
    start, end = STUDY.index("measures:\n"), STUDY.index("report:")
    (tmp_path / "study.yaml").write_text(f"{STUDY[:start]}measures:\n  - {measure}\n{STUDY[end:]}")
    with pytest.raises(ConfigError) as error:
        read_study(tmp_path / "study.yaml")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{stage: teacher}", "{stage: teachers}", "there is no stage 'teachers'; there are masked, teacher"),
        ("follows: [data.train_size]", "follows: [size]", "stages.teacher.follows: there is no axis 'size'"),
        ("{distillation.teacher: {stage: teacher}}", "{batch_size: 8}", "no run starts from stages.teacher"),
        ("schedule.steps: 2, model.name: lenet", "model.init: {stage: teacher}", "the stage teacher needs itself"),
    ],
)
def test_refused_stages(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in STUDY
    (tmp_path / "study.yaml").write_text(STUDY.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        read_study(tmp_path / "study.yaml")


FAILING = f"""
title: A stage that fails
recipe: digits
set: {{model.name: lenet, model.image_size: [16, 16], schedule.steps: 1, {COMMON}}}
stages:
  before: {{recipe: digits, set: {{data.train_size: 5000, model.name: lenet, model.image_size: [16, 16], {COMMON}}}}}
grid: {{start: {{fresh: {{}}, after: {{model.init: {{stage: before}}}}}}}}
seeds: [0]
report: {{metric: accuracy}}
"""


@pytest.mark.usefixtures("fixed_precision")
def test_runs_behind_a_stage_that_fails_are_named(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(FAILING)
    study = read_study(tmp_path / "study.yaml")
    outcome = run_study(study, tmp_path / "out", threads=1)
    stage, after = (next(job.id for job in study.runs if name in job.id) for name in ("before", "after"))
    assert outcome.done == 1
    assert "data.train_size must be from 1 to the 1437" in outcome.failed[stage]
    assert outcome.failed[after] == f"the run {stage}, whose model it starts from, failed"


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("attention_distance", "attention_distance needs a model with attention, which the architecture lenet has not"),
        ("robustness: {corruptions: [noise]}", "there is no corruption 'noise': choose gaussian_noise"),
        ("few_shot: {shots: 500}", "digits has a class of 139 training images: too few for 500 shots"),
        ("evaluation: {data: nowhere}", "there is no nowhere: give a folder"),
    ],
)
def test_a_measure_that_cannot_be_taken_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture, measure: str, message: str
) -> None:
    (tmp_path / "study.yaml").write_text(f"""
title: No attention
recipe: digits
set: {{model.name: lenet, model.image_size: [16, 16], schedule.steps: 1, {COMMON}}}
grid: {{data.train_size: [32]}}
seeds: [0]
measures:
  - {measure}
report: {{metric: accuracy}}
""")
    assert main(["lab", "run", str(tmp_path / "study.yaml"), "--output", str(tmp_path / "out"), "--threads", "1"]) == 1
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out/jobs").iterdir())
