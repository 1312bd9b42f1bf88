"""`saccade data`: check a data set, pack it into shards, compose scenes."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from saccade.cli.options import Json
from saccade.cli.terminal import printable, show
from saccade.errors import ConfigError
from saccade.json_io import dump_json
from saccade.tasks.table import TASKS, data_layouts

DEFAULT_TASK = next(iter(TASKS))

app = App(name="data", help="Check a data set, pack it into shards, or compose scenes.")


@app.command
def check(
    data: Annotated[str, Parameter(help=f"Data set. {data_layouts()}")] = "digits",
    /,
    *,
    mode: Literal["full", "sample", "auto"] = "full",
    task: Annotated[str, Parameter(help=f"Task of the data: {', '.join(TASKS)}.")] = DEFAULT_TASK,
    fix: Annotated[bool, Parameter(negative="")] = False,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    as_json: Json = False,
) -> int:
    """Find broken files, duplicates across splits, conflicting labels, class imbalance; invalid boxes; maps that do not
    fit their images. The exit code is 1 if a run should not start on this data.

    Parameters
    ----------
    mode
        full opens every input; sample about 2,000; auto all inputs of sets of up to 20,000, else a sample.
    fix
        Correct invalid COCO boxes to their probable values; the original is kept as NAME.json.orig.
    set
        An option of the data as in training, as KEY=VALUE: --set data.class_table=colours.csv
    """
    from saccade.cli.counting import counting
    from saccade.tasks import table
    from saccade.training.config import parse_override, resolve

    room = table.room(task)
    overrides = dict(parse_override(text) for text in set)
    if other := next((name for name in overrides if not name.startswith("data.")), None):
        raise ConfigError(f"--set takes options of the data here, data.NAME=VALUE, not {other}")
    config = resolve(overrides={"task": task, **overrides}).data
    with counting(room.inputs) as advance:
        report = room.check(data, config, mode=mode, fix=fix, on_input=advance)
    print(dump_json(report.to_dict()) if as_json else printable(report))
    return 0 if report.ok else 1


@app.command
def scenes(
    output: Path, /, *, train: int = 500, val: int = 50, test: int = 100, size: int = 128, seed: int = 0
) -> None:
    """Write scenes of real digits in COCO's layout, with masks, depth and captions.

    Parameters
    ----------
    output
        A new folder.
    train
        Scenes for training.
    val
        Scenes for validation.
    test
        Scenes for testing, composed of other digits.
    size
        Side in pixels.
    seed
        Seed of all random numbers.
    """
    from saccade.cli.counting import counting
    from saccade.data.builtin.scenes import scene_splits
    from saccade.data.builtin.write_scenes import write_scenes
    from saccade.data.config import ScenesConfig

    config = ScenesConfig(size=(size, size), seed=seed, train=train, val=val, test=test)
    with counting("scenes") as advance:
        show(write_scenes(scene_splits(config), output, on_image=advance))


@app.command
def shard(
    data: str,
    output: Path,
    /,
    *,
    shard_mb: int = 256,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    split_seed: int = 0,
) -> None:
    """Pack a data set into tar files (WebDataset layout), keeping its splits. Files are copied byte for byte.

    Parameters
    ----------
    data
        A folder, a CSV, a zip, or "digits".
    output
        A new folder for the tar files.
    shard_mb
        Size in megabytes after which a new tar file is started.
    val_fraction
        Fraction of the training split to hold out for validation if the data has no val split.
    test_fraction
        Fraction to hold out for testing first if the data has no test split.
    split_seed
        Seed of these splits.
    """
    from saccade.cli.counting import counting
    from saccade.data.config import DataConfig
    from saccade.data.image_folder import open_data
    from saccade.data.shards import write_shards

    config = DataConfig(val_fraction=val_fraction, test_fraction=test_fraction, split_seed=split_seed)
    splits = open_data(data, config)
    with counting("images") as advance:
        paths = write_shards(splits, output, shard_bytes=shard_mb * 10**6, on_image=advance)
    print(f"{len(paths)} shards in {output}", file=sys.stderr)
    for path in paths:
        show(path)
