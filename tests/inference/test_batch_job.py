"""Jobs of many predictions: complete, in order, once each, and the same bytes however often they are stopped."""

import csv
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from saccade.checkpoints.directory import save_model_dir
from saccade.cli.main import main
from saccade.errors import ConfigError, ImageError
from saccade.inference.batch_job import BatchJob, Outcome, Shard
from tests.serving.conftest import photographs, small_source


@dataclass
class Number:
    """The result of one input."""

    name: str
    columns = ("image", "value")

    def records(self) -> list[dict[str, Any]]:
        value = len(self.name) + 0.5
        return [{"image": self.name, "value": value, "box": [value, 1.0]}] if value % 2 > 0.5 else []

    def rows(self) -> list[tuple[Any, ...]]:
        return [(self.name, len(self.name))]


def stream(inputs: Sequence[str], *, batch_size: int, on_error: Callable[[str, ImageError], None]) -> Iterator[Number]:
    for name in inputs:
        if name.startswith("bad"):
            on_error(name, ImageError(f"{name} is damaged"))
        else:
            yield Number(name)


def job(folder: Path, count: int = 23, ending: str = ".jsonl", model: str = "m") -> BatchJob:
    names = [("bad" if n % 7 == 3 else "n") + "x" * (n % 4) + f"-{n}" for n in range(count)]
    return BatchJob(folder / f"out{ending}", names, {"model": model}, part_size=4)


def run(work: BatchJob, shard: Shard | None = None) -> Outcome:
    return work.run(stream, batch_size=2, shard=shard or Shard())


@pytest.mark.parametrize("ending", [".jsonl", ".csv", ".parquet"])
def test_a_job_that_is_stopped_twenty_times_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole = job(tmp_path / "whole", ending=ending)
    assert run(whole) == Outcome(23, 3, True)
    random.seed(1)

    def stopping(inputs: Sequence[str], **options: Any) -> Iterator[Number]:
        for result in stream(inputs, **options):
            if random.random() < 0.4:
                raise KeyboardInterrupt
            yield result

    stops = 0
    for _ in range(1000):
        try:
            outcome = job(tmp_path / "stopped", ending=ending).run(stopping, batch_size=2, shard=Shard())
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 20
    assert outcome == Outcome(23, 3, True)
    one, other = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())} for name in ("whole", "stopped")
    )
    assert one == other
    assert set(one) == {f"out{ending}", "out-errors.csv", "out-job.json"}


def test_what_the_files_hold(tmp_path: Path) -> None:
    work = job(tmp_path)
    run(work)
    records = [json.loads(text) for text in work.output.read_text().splitlines()]
    right = [record for name in work.inputs if not name.startswith("bad") for record in Number(name).records()]
    assert records == right
    table = job(tmp_path, ending=".csv")
    run(table)
    rows = list(csv.reader(table.output.open()))
    assert rows == [["image", "value"], *([n, str(len(n))] for n in work.inputs if not n.startswith("bad"))]
    errors = list(csv.reader(work.errors.open()))
    assert errors == [["image", "error"], *([n, f"{n} is damaged"] for n in work.inputs if n.startswith("bad"))]
    parquet = pytest.importorskip("pyarrow.parquet")
    binary = job(tmp_path, ending=".parquet")
    run(binary)
    assert parquet.read_table(binary.output).to_pylist() == right


def test_shards_do_a_part_each_and_the_last_one_writes_the_file(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    run(job(tmp_path / "one"))
    outcomes = [run(job(tmp_path), Shard(index, 3)) for index in (2, 0, 1)]
    assert [one.complete for one in outcomes] == [False, False, True]
    assert sum(one.inputs for one in outcomes) == 23
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "one/out.jsonl").read_bytes()


def test_nothing_is_mixed_or_overwritten(tmp_path: Path) -> None:
    run(job(tmp_path), Shard(0, 2))
    with pytest.raises(ConfigError, match="of another job"):
        job(tmp_path, model="other")
    with pytest.raises(ConfigError, match="of another job"):
        job(tmp_path, count=22)
    done = run(job(tmp_path))
    content = (tmp_path / "out.jsonl").read_bytes()
    assert run(job(tmp_path)) == done  # once more does nothing
    assert (tmp_path / "out.jsonl").read_bytes() == content
    with pytest.raises(ConfigError, match="of another job"):
        job(tmp_path, model="other")
    (tmp_path / "out-job.json").unlink()
    with pytest.raises(ConfigError, match="already exists"):
        job(tmp_path)
    with pytest.raises(ConfigError, match="must end in"):
        job(tmp_path, ending=".txt")
    with pytest.raises(ConfigError, match="no folder"):
        job(tmp_path / "none")


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/2", "0/0"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="0/4"):
        Shard.parse(text)
    assert Shard.parse("3/4") == Shard(3, 4)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    save_model_dir(tmp_path / "model", small_source())
    photographs(tmp_path / "photos", 5)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "model", "photos", "--out", "all.csv", "--batch-size", "2"]) == 1
    assert "6 inputs, 1 cannot be read (all-errors.csv): all.csv" in capsys.readouterr().err
    assert main(["predict", "model", "photos", "--csv", "--batch-size", "2"]) == 1
    assert (tmp_path / "all.csv").read_text() == capsys.readouterr().out
    assert main(["predict", "model", "photos", "--out", "all.csv", "--batch-size", "2"]) == 1
    assert main(["predict", "model", "photos", "--out", "all.csv"]) == 2
    assert main(["predict", "model", "photos", "--out", "b.csv", "--json"]) == 2
    assert main(["predict", "model", "photos", "--shard", "0/2"]) == 2
    err = capsys.readouterr().err
    for text in ("all-job.json is of another job", "--out writes a file", "--shard and --ray need --out"):
        assert text in err
