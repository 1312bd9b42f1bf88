"""`saccade probe`: the quality of a frozen backbone's features."""

from typing import Annotated, cast

from cyclopts import Parameter

from saccade.cli.options import CacheOptions, Json, RunOptions
from saccade.cli.terminal import show
from saccade.errors import ConfigError
from saccade.json_io import dump_json


def probe(
    model: str,
    data: str,
    /,
    *,
    shots: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    seeds: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    image_size: int | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    running: RunOptions | None = None,
    keep: CacheOptions | None = None,
    as_json: Json = False,
) -> None:
    """Measure frozen features: nearest neighbours, few-shot ridge regression, a linear classifier.

    The probes are trained on features of the training images and measured on the test images (on the validation images
    if there are no test images). Features are computed once and cached on disk.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME; its head is not used.
    data
        A folder, a CSV, a zip, tar shards, or "digits".
    shots
        Images per class of the few-shot probe (default: 1 5 10 25).
    seeds
        Seeds of the random draws of images (default: 0 1 2).
    image_size
        Side in pixels, instead of the model's own; positions are resampled.
    batch_size
        Images per batch.
    workers
        Processes that load images.
    """
    from saccade.analysis.probing import probe as measure
    from saccade.cli.counting import counting
    from saccade.data.image_folder import open_data
    from saccade.data.samples import ImageSource
    from saccade.engine.features import extract
    from saccade.tasks.loading import load

    folder = (keep or CacheOptions()).folder()
    way = running or RunOptions()
    predictor = way.apply(load(model, image_size=image_size, device=way.device), batch_size, "embed")
    splits = open_data(data)
    name, held_out = ("test", splits.test) if splits.test is not None else ("val", splits.val)
    if held_out is None:
        raise ConfigError(f"{data} has neither test nor validation images to measure on")
    parts = {"train": cast(ImageSource, splits.train), name: cast(ImageSource, held_out)}
    total = len(splits.train) + len(held_out)
    features, done = [], 0
    with counting("images") as advance:
        for part in parts.values():
            features.append(
                extract(
                    predictor, part, splits.fingerprint, cache=folder, batch_size=batch_size, workers=workers,
                    on_images=lambda count, before=done: advance(before + count, total),
                )
            )  # fmt: skip
            done += len(part)
    train, test = features
    result = measure(
        train.values, train.labels, test.values, test.labels, shots=shots or (1, 5, 10, 25), seeds=seeds or (0, 1, 2)
    )
    if as_json:
        print(dump_json({"cached": train.cached and test.cached, "split": name, **result.to_dict()}))
        return
    origin = (
        "from the cache" if train.cached and test.cached else "computed" + ("" if folder is None else " and cached")
    )
    show(f"{result.features} features of {result.train_images} + {result.test_images} images, {origin}")
    show(f"measured on {name}:")
    show(f"  nearest neighbours   {result.knn:.2%}")
    for row in result.few_shot:
        show(f"  {row.shots:>3} a class          {row.mean:.2%} ± {row.spread:.2%}")
    show(f"  linear, all images   {result.linear:.2%}")
