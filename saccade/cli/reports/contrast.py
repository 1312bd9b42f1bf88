"""The part of a report that belongs to pairs of images and captions."""

from typing import Any, cast

import numpy as np
import torch

from saccade.cli.reports.content import Content
from saccade.data.samples import CaptionSource, DataSplits
from saccade.inference.predictor import Predictor
from saccade.inference.texts import tokenizer_of
from saccade.models.clip import CLIP
from saccade.reporting.contrast import Retrieved, contrast_section, contrast_tiles
from saccade.tasks.predictions import ContrastMetrics

SHOWN = 12  # images that the matrix compares with as many captions


@torch.inference_mode()
def content(predictor: Predictor, splits: DataSplits, told: dict[str, Any]) -> Content:
    """Figures, the matrix of some pairs, and what the images that are found last say instead."""
    metrics = ContrastMetrics.from_dict(told["metrics"])
    source = cast(CaptionSource, splits.test if told["split"] == "test" else splits.val)
    assert isinstance(predictor.model, CLIP)
    worst = sorted(range(len(source)), key=lambda i: -metrics.ranks[i])[: SHOWN // 2]
    others = [i for i in range(len(source)) if i not in worst][: SHOWN - len(worst)]
    pictures, captions = zip(*(source.with_captions(i) for i in (*others, *worst)))
    images = torch.stack([predictor.prepare(picture) for picture in pictures])
    outputs = predictor.model(images, tokenizer_of(predictor)([texts[0] for texts in captions]))
    cosines = (outputs.image @ outputs.text.T).float().numpy()
    shown = [np.asarray(picture.convert("RGB")) for picture in pictures]
    texts = [told[0] for told in captions]
    rows = []
    for row, index in enumerate(worst, len(others)):
        nearest = texts[int(cosines[row].argmax())]
        rows.append(Retrieved(source.names[index], shown[row], texts[row], nearest, metrics.ranks[index]))
    return Content(metrics, contrast_tiles(metrics), contrast_section(shown, texts, cosines, rows, len(source)))
