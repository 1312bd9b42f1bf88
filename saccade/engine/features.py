"""Features of images from a frozen backbone, computed once and cached on disk.

Probes, search and clustering need only the features before the head; a frozen backbone need not run twice over the same
images.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from torch import Tensor, nn

from saccade.checkpoints.atomic import write_atomic
from saccade.checkpoints.reading import read_tensors
from saccade.data.augmentation import EvalTransform
from saccade.data.batching import default_workers, eval_batches, image_dataset
from saccade.data.samples import Batch, ImageSource
from saccade.engine.collect import collect
from saccade.engine.finite import require_finite
from saccade.engine.predictor import Predictor
from saccade.errors import CheckpointError
from saccade.models.model import Model
from saccade.nn.matmul_precision import matmul_precision

log = logging.getLogger("saccade")


@dataclass(frozen=True)
class Features:
    """Features ``[N, D]`` float32 and labels ``[N]`` int64 of N images, and whether they were on disk already."""

    values: Tensor
    labels: Tensor
    cached: bool


class EmbedSteps:
    """Collects the features before the head: ``features [N, D]`` and ``labels [N]``."""

    def eval_step(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Model)
        return model.embed(batch.inputs)

    def collect(self, outputs: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"features": outputs.float(), "labels": batch.classes}


def default_cache() -> Path:
    """`~/.cache/saccade/features`, or below XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saccade" / "features"


def extract(
    predictor: Predictor,
    source: ImageSource,
    fingerprint: str,
    *,
    cache: Path | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    on_images: Callable[[int], None] | None = None,
) -> Features:
    """The features of every image of a split.

    Args:
        predictor: the model and its preprocessing.
        source: the images.
        fingerprint: fingerprint of the data from :class:`~saccade.data.samples.DataSplits`; it changes with any image.
        cache: folder of cached features; None for no cache.
        batch_size: images per batch.
        workers: number of loader processes; chosen for the machine by default.
        on_images: called with the number of images done so far.
    """
    path = None if cache is None else cache / f"{features_key(predictor, source, fingerprint)}.safetensors"
    if path is not None and path.is_file() and (stored := _stored(path, len(source))) is not None:
        require_finite(stored.values, source.names)  # earlier versions kept whatever there was
        return stored
    size = (predictor.preprocess.channels, *predictor.preprocess.size)
    images = image_dataset(source, EvalTransform(predictor.preprocess), size)
    batches = eval_batches(images, batch_size, workers=default_workers(images) if workers is None else workers)
    with matmul_precision(predictor.matmul_precision):
        collected = collect(predictor.model, batches, predictor.device, EmbedSteps(), on_inputs=on_images)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda temporary: save_file(collected.tensors, temporary))
    return Features(collected["features"], collected["labels"], cached=False)


def _stored(path: Path, count: int) -> Features | None:
    """The features in a file of the cache; None, with a warning, if it is damaged, and they must be computed again."""
    try:
        tensors = read_tensors(path).tensors
        features, labels = tensors["features"], tensors["labels"]
    except (CheckpointError, KeyError) as error:
        log.warning("the cached features in %s are computed again: %s", path, error)
        return None
    if len(features) != count or len(labels) != count:
        log.warning("the cached features in %s are computed again: they are of %d images", path, len(features))
        return None
    return Features(features, labels, cached=True)


def features_key(predictor: Predictor, source: ImageSource, fingerprint: str) -> str:
    """A name that changes with the weights, the architecture, the preprocessing and the images."""
    digest = hashlib.sha256()
    config = predictor.model.config.to_dict()
    config |= {"num_classes": 0}  # a head has no say in the features
    described = [predictor.source.architecture, config, predictor.preprocess.to_dict(), fingerprint, list(source.names)]
    digest.update(json.dumps(described, sort_keys=True, default=list).encode())
    for name, tensor in sorted(predictor.model.state_dict().items()):
        if name not in predictor.model.head_names:
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).data)
    return digest.hexdigest()[:32]
