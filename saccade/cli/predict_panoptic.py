"""`saccade predict --panoptic`: one segment for every pixel, things counted, stuff not."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from saccade.checkpoints.atomic import write_atomic
from saccade.data.images import read_image
from saccade.errors import ConfigError, ImageError
from saccade.inference.predictor import Predictor
from saccade.reporting.draw import draw_segments, to_png
from saccade.tasks.panoptic import Panoptic


def predict_panoptic(
    predictor: Predictor, paths: Sequence[Path], stuff: str, threshold: float, draw: Path | None, as_json: bool
) -> int:
    """Say what every pixel belongs to; returns the exit code.

    With `draw`, NAME.png is for people; in NAME-panoptic.png a pixel of segment i is (i mod 256, i / 256, 0), as in
    COCO's panoptic files.
    """
    named = [name.strip() for name in stuff.split(",") if name.strip()]
    strangers = [name for name in named if name not in predictor.labels]
    if strangers:
        raise ConfigError(f"--stuff {strangers[0]}: the model knows no such class")
    numbers = {predictor.labels.index(name) for name in named} if named else None
    failed, rows = 0, []
    if draw is not None:
        draw.mkdir(parents=True, exist_ok=True)
    for path in paths:
        try:
            found = predictor.panoptic(path, stuff=numbers, threshold=threshold)
        except ImageError as error:
            failed += 1
            print(f"saccade: {error}", file=sys.stderr)
            continue
        row = panoptic_row(path, found, predictor.labels)
        rows.append(row)
        if draw is not None:
            ids = found.ids.numpy()
            names = {s.id: predictor.labels[s.label] for s in found.segments}
            write_atomic(draw / f"{path.stem}.png", to_png(draw_segments(np.asarray(read_image(path)), ids, names)))
            coded = np.stack((ids % 256, ids // 256, np.zeros_like(ids)), axis=-1).astype(np.uint8)
            Image.fromarray(coded).save(draw / f"{path.stem}-panoptic.png")
        if not as_json:
            told = ", ".join(f"{s['category_name']} {s['area']} px" for s in row["segments_info"])
            print(f"{path}: {told or 'nothing sure'}")
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
    return 1 if failed else 0


def panoptic_row(path: Path, found: Panoptic, labels: Sequence[str]) -> dict[str, Any]:
    """The segments of one image in COCO's form, the largest first."""
    segments = sorted(found.segments, key=lambda s: -s.area)
    told = [
        {"id": s.id, "category_id": s.label, "category_name": labels[s.label], "score": s.score, "area": s.area}
        for s in segments
    ]
    return {"image_id": str(path), "file_name": f"{path.stem}-panoptic.png", "segments_info": told}
