"""A study's file: the grid of its runs, their ids, and what is refused."""

from pathlib import Path

import pytest

from saccade.errors import ConfigError
from saccade.lab.study import read_study, shipped_studies

TINY = Path(__file__).parent / "tiny.yaml"


def write(tmp_path: Path, old: str, new: str) -> Path:
    text = TINY.read_text()
    assert old in text
    (tmp_path / "study.yaml").write_text(text.replace(old, new))
    return tmp_path / "study.yaml"


def test_the_grid_becomes_runs() -> None:
    study = read_study(TINY)
    assert len(study.jobs) == len({job.id for job in study.jobs}) == 8
    first = study.jobs[0]
    assert (first.levels, first.seed) == ({"model": "ViT", "data.train_size": 64}, 0)
    assert (first.config.model.name, first.config.data.train_size) == ("vit_digits", 64)
    assert study.jobs[-1].config.seed == 1
    assert study.x(study.config.report[0]) == "data.train_size"
    assert [job.seed for job in study.jobs] == [0] * 4 + [1] * 4  # every point once before any twice


def test_ids_follow_the_config_alone(tmp_path: Path) -> None:
    """A study that grows keeps its runs; another option makes other runs."""
    before = {job.id for job in read_study(TINY).jobs}
    grown = {job.id for job in read_study(write(tmp_path, "seeds: [0, 1]", "seeds: [2, 0, 1]")).jobs}
    assert before < grown
    other = {job.id for job in read_study(write(tmp_path, "batch_size: 16", "batch_size: 8")).jobs}
    assert not before & other


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("recipe: digits", "recipes: digits", "no option recipes; did you mean recipe"),
        ("recipe: digits", "recipe: digits\nrecipe: sam", "the key 'recipe' is repeated"),
        ("batch_size: 16", "batchsize: 16", "no option batchsize; did you mean batch_size"),
        ("model.name: lenet", "model.nam: lenet", "model LeNet, data.train_size 64: there is no option model.nam"),
        ("batch_size: 16", "seed: 1", "set by `seeds`"),
        ("[64, 128]", "[64, 64]", "the same run twice"),
        ("[64, 128]", "[]", "grid.data.train_size must list values"),
        ("x: data.train_size", "x: data.size", "report.x must be an axis of the grid"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "different whole numbers"),
        ("[64, 128]", "[64, many]", "data.train_size many"),
        (
            "[64, 128]",
            "{few: {data.train_size: 64}, LeNet: {model.name: lenet}}",
            "two axes of the grid set model.name",
        ),
    ],
)
def test_refusals(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_study(write(tmp_path, old, new))


def test_the_studies_that_come_with_saccade_are_whole() -> None:
    assert {"data_size", "scaling"} <= set(shipped_studies())
    for name in shipped_studies():
        study = read_study(name)
        assert len(study.config.seeds) >= 3
    with pytest.raises(ConfigError, match=r"no study of that name; there are .*data_size"):
        read_study("data_sizes")
