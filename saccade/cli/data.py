"""`saccade data`: look at a data set, pack a data set."""

import json
import sys
from pathlib import Path
from typing import Literal

from cyclopts import App

from saccade.cli.options import Json

app = App(name="data", help="Check a data set, or pack it into shards.")


@app.command
def check(data: str = "digits", /, *, mode: Literal["full", "sample", "auto"] = "full", as_json: Json = False) -> int:
    """Find broken files, copies across splits, labels that disagree, and classes out of balance.

    Parameters
    ----------
    data
        A folder, a CSV, a zip, tar shards, or "digits".
    mode
        full opens every image; sample some 2,000; auto all of up to 20,000.
    """
    from saccade.cli.counting import counting
    from saccade.data.check import check_data
    from saccade.data.folder import open_data

    splits = open_data(data)
    with counting("images") as advance:
        report = check_data(splits, mode=mode, on_image=advance)
    print(json.dumps(report.to_dict(), indent=1, ensure_ascii=False) if as_json else report)
    return 1 if report.errors else 0


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
    """Pack a data set into tar files (WebDataset's layout), its splits kept. Files are copied byte for byte.

    Parameters
    ----------
    data
        A folder, a CSV, a zip, or "digits".
    output
        A new folder for the tars.
    shard_mb
        A tar is closed when it has grown past this, in megabytes.
    val_fraction
        Cut from train where the data has no val split of its own.
    test_fraction
        Cut first, where the data has no test split of its own.
    split_seed
        Of these cuts.
    """
    from saccade.cli.counting import counting
    from saccade.data.config import DataConfig
    from saccade.data.folder import open_data
    from saccade.data.shards import write_shards

    config = DataConfig(val_fraction=val_fraction, test_fraction=test_fraction, split_seed=split_seed)
    splits = open_data(data, config)
    with counting("images") as advance:
        paths = write_shards(splits, output, shard_bytes=shard_mb * 10**6, on_image=advance)
    print(f"{len(paths)} shards in {output}", file=sys.stderr)
    for path in paths:
        print(path)
