"""Predictions of any number of images into one file, in parts, so that a killed job can continue.

The parts of a job are next to its file: `results.parquet.parts/000017.jsonl` has the predictions of a range of the
inputs, one line per input, and is written atomically. When all parts exist, they are merged into the file in the order
of the inputs, and removed. A job that is killed at any moment and started again gives the same bytes.
`results-job.json` stays: the model, the options and the inputs of the file. A finished job is not repeated.
"""

import csv
import fcntl
import hashlib
import importlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from saccade.checkpoints.atomic import write_atomic
from saccade.errors import ConfigError, DataError, ImageError
from saccade.files import open_regular, read_lines
from saccade.json_io import dump_json, parse_json, read_json_file

PART = 512  # inputs of a part
FORMATS = (".parquet", ".csv", ".jsonl")
LOCK = "lock"


class Record(Protocol):
    """What a job keeps of an input: a :class:`~saccade.engine.results.Result`, or a vector."""

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def records(self) -> list[dict[str, Any]]: ...

    def rows(self) -> list[tuple[Any, ...]]: ...


# (inputs, batch size, what is called with an input's name and its error) -> results in the order of the inputs
Stream = Callable[..., Iterator[Record]]


@dataclass(frozen=True)
class Shard:
    """The parts of a job for one process: those whose number is `index` modulo `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """From "0/4".

        Raises:
            ConfigError: the text is not a shard.
        """
        index, slash, count = text.partition("/")
        if not slash or not index.isdecimal() or not count.isdecimal() or not int(index) < int(count):
            raise ConfigError(f"--shard must be such as 0/4, the first of four, not {text!r}")
        return cls(int(index), int(count))


@dataclass(frozen=True)
class Outcome:
    """Result of a job.

    Attributes:
        inputs: number of inputs of the job, or of this shard.
        failed: number of inputs that could not be read; they are listed in the file of errors.
        complete: whether the file is written; not while other shards have parts to do.
    """

    inputs: int
    failed: int
    complete: bool


class BatchJob:
    """One job.

    Args:
        output: the file: .parquet, .csv or .jsonl.
        inputs: names of image files in order, or texts.
        description: description of the model and its options; another model cannot continue a job.
        part_size: number of inputs per part.

    Raises:
        ConfigError: the file already exists and is not of this job, or has another ending.
    """

    def __init__(self, output: Path, inputs: Sequence[str], description: Mapping[str, Any], part_size: int = PART):
        if output.suffix not in FORMATS:
            raise ConfigError(f"--out {output}: the file must end in {', '.join(FORMATS)}")
        description_file = output.with_name(f"{output.stem}-job.json")
        if output.exists() and not description_file.exists():
            raise ConfigError(f"--out {output} already exists: choose another file, or remove it")
        if not output.absolute().parent.is_dir():
            raise ConfigError(f"--out: there is no folder {output.absolute().parent}")
        if output.suffix == ".parquet":
            pyarrow()
        self.output, self.inputs, self.part_size = output, inputs, part_size
        self.parts = output.with_name(f"{output.name}.parts")
        self.errors = output.with_name(f"{output.stem}-errors.csv")
        digest = hashlib.sha256("\n".join(inputs).encode("utf-8", "surrogateescape")).hexdigest()
        described = {**description, "inputs": len(inputs), "names": digest, "part": part_size}
        text = dump_json(described)
        if not description_file.exists():
            write_atomic(description_file, text.encode())
        elif read_json_file(description_file) != parse_json(text, description_file):
            raise ConfigError(
                f"{description_file} is of another job, with another model, other options or other inputs: choose "
                f"another --out, or remove {output.stem}*"
            )

    def part(self, number: int) -> Path:
        return self.parts / f"{number:06d}.jsonl"

    def inputs_of(self, number: int) -> Sequence[str]:
        return self.inputs[number * self.part_size : (number + 1) * self.part_size]

    def numbers(self, shard: Shard) -> range:
        """The parts of a shard."""
        return range(shard.index, -(-len(self.inputs) // self.part_size), shard.count)

    def run(
        self, stream: Stream, *, batch_size: int, shard: Shard, on_inputs: Callable[[int], None] = lambda done: None
    ) -> Outcome:
        """Run the missing parts, then write the file if all parts exist.

        Args:
            stream: of a predictor.
            batch_size: inputs at once.
            shard: of the job.
            on_inputs: called with the number of inputs that are done.
        """
        done = failed = 0
        if self.output.exists():
            failed = len(read_lines(self.errors)) - 1 if self.errors.exists() else 0
            return Outcome(len(self.inputs), failed, True)
        self.parts.mkdir(exist_ok=True)
        for number in self.numbers(shard):
            inputs = self.inputs_of(number)
            path = self.part(number)
            if not path.exists():
                write_part(path, stream, inputs, batch_size)
            done += len(inputs)
            failed += sum("error" in line for line in read_part(path))
            on_inputs(done)
        return Outcome(done, failed, self.finish())

    def finish(self) -> bool:
        """Write the file from its parts if all are there."""
        paths = [self.part(number) for number in self.numbers(Shard())]
        with exclusive(self.parts / LOCK):
            if self.output.exists() or not all(path.exists() for path in paths):
                return self.output.exists()
            write = {".parquet": write_parquet, ".csv": write_csv, ".jsonl": write_jsonl}[self.output.suffix]
            if failures := [one for path in paths for one in read_part(path) if "error" in one]:
                write_atomic(self.errors, lambda temporary: write_errors(failures, temporary))
            write_atomic(self.output, lambda temporary: write(paths, temporary))
        shutil.rmtree(self.parts, ignore_errors=True)
        return True


def write_part(path: Path, stream: Stream, inputs: Sequence[str], batch_size: int) -> None:
    """Write the part of some inputs atomically."""
    write_atomic(path, "".join(part_lines(stream, inputs, batch_size)).encode("utf-8", "surrogateescape"))


def part_lines(stream: Stream, inputs: Sequence[str], batch_size: int) -> Iterator[str]:
    """A line of JSON for each input, in their order: its result, or its error."""
    errors: dict[str, str] = {}

    def on_error(name: str, error: ImageError) -> None:
        errors[name] = " ".join(str(error).split())

    results = iter(stream(inputs, batch_size=batch_size, on_error=on_error))
    following = next(results, None)
    for name in inputs:
        if following is not None and following.name == name:
            records, rows = following.records(), [list(row) for row in following.rows()]
            yield line({"name": name, "records": records, "columns": following.columns, "rows": rows})
            following = next(results, None)
        else:
            yield line({"name": name, "error": errors.get(name, "there is no result")})


def line(content: dict[str, Any]) -> str:
    return dump_json(content, indent=None) + "\n"


def read_part(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a part."""
    with open_regular(path) as file:
        for number, text in enumerate(file, 1):
            content = parse_json(text, f"{path}, line {number}")
            if not isinstance(content, dict) or "name" not in content:
                raise DataError(f"{path}, line {number} is not a line of a job: remove the file to compute it again")
            yield content


def write_jsonl(parts: Iterable[Path], path: Path) -> None:
    """One record a line."""
    with text_file(path) as file:
        for part in parts:
            for one in read_part(part):
                file.writelines(line(record) for record in one.get("records", ()))


def write_csv(parts: Iterable[Path], path: Path) -> None:
    """One row per instance, with the columns of `predict --csv`."""
    with text_file(path) as file:
        writer, header = csv.writer(file, lineterminator="\n"), False
        for part in parts:
            for one in read_part(part):
                if "rows" in one and not header:
                    writer.writerow(one["columns"])
                    header = True
                writer.writerows(one.get("rows", ()))


def write_errors(failures: Iterable[Mapping[str, Any]], path: Path) -> None:
    """The inputs that could not be read."""
    with text_file(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "error"))
        writer.writerows((one["name"], one["error"]) for one in failures)


def write_parquet(parts: Sequence[Path], path: Path) -> None:
    """One record a row, a row group a part; the types are those that hold the values of all parts."""
    arrow, parquet = pyarrow(), importlib.import_module("pyarrow.parquet")

    def records(part: Path) -> list[dict[str, Any]]:
        return [printable(record) for one in read_part(part) for record in one.get("records", ())]

    schemas = [arrow.Table.from_pylist(rows).schema for part in parts if (rows := records(part))]
    schema = arrow.unify_schemas(schemas or [arrow.schema([])], promote_options="permissive")
    if "embedding" in schema.names:  # computed in single precision
        vector = arrow.field("embedding", arrow.list_(arrow.float32()))
        schema = schema.set(schema.get_field_index("embedding"), vector)
    with parquet.ParquetWriter(path, schema) as writer:
        for part in parts:
            writer.write_table(arrow.Table.from_pylist(records(part), schema=schema))


def printable(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose texts are UTF-8: other bytes of a file name as their escapes."""
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in record.items()
    }


def pyarrow() -> Any:
    """The library.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise ConfigError("Parquet needs the extra `arrow`: pip install 'saccade[arrow]'") from None


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A new text file; bytes of file names that are not UTF-8 stay what they are."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield file


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """One process at a time; the kernel's lock ends with its holder."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
