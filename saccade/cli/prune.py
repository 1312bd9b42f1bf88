"""`saccade prune`: a smaller model without the heads and blocks that matter least."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.terminal import show
from saccade.errors import ConfigError


def prune(
    model: str,
    data: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    heads: int = 0,
    blocks: int = 0,
    metric: str | None = None,
    split: str = "auto",
    images: int | None = None,
    device: str = "cpu",
) -> None:
    """Remove the least important heads and blocks from a transformer, and write the smaller model directory.

    The parts are ranked on DATA by the loss of the metric without each of them (`saccade analyze heads`). Removing
    several parts can cost more than the sum of their losses, so the smaller model is measured and its metric printed.
    Use other images for the ranking than for the accuracy that you report.

    Parameters
    ----------
    model
        A run, a model directory or a published file, with one stack of blocks: ViT, DeiT, conv_vit.
    data
        A data set with targets.
    output
        Where to write the model directory.
    heads
        Heads to remove from every block.
    blocks
        Blocks to remove.
    metric
        One of the task's main metrics, which is printed for both models (default: the first).
    split
        auto, train, val, test or all.
    images
        Maximum number of images, evenly spaced (default: all).
    device
        Device, such as cpu or cuda.
    """
    if heads < 0 or blocks < 0 or heads + blocks == 0:
        raise ConfigError("give --heads or --blocks: how many to remove, at least 1")
    from dataclasses import replace

    import saccade
    from saccade.analysis.importance import measure_importance, measure_metric
    from saccade.analysis.inputs import open_images
    from saccade.analysis.pruning import least_important, prune, single_stack
    from saccade.cli.counting import counting
    from saccade.tasks.loading import load, predictor_of

    predictor = load(model, device=device)
    depth = len(single_stack(predictor.model)[1])
    opened = open_images(predictor, data, split=split, limit=images, texts=True)
    opened = replace(opened, batches=list(opened.batches))
    with counting("parts") as advance:
        importance = measure_importance(predictor, opened, metric=metric, on_parts=advance)
    by_block, chosen = least_important(importance, depth, heads=heads, blocks=blocks)
    source = predictor.source
    smaller = prune(predictor.model, source.architecture, heads=by_block if heads else (), blocks=chosen)
    pruned = predictor_of(replace(source, model=smaller), device=device)
    value = measure_metric(pruned, opened, importance.metric)
    saccade.save(pruned, output)
    if blocks:
        show(f"blocks taken out: {', '.join(map(str, chosen))}")
    if heads:
        print("heads removed by block: " + "; ".join(",".join(map(str, part)) for part in by_block))
    counts = [sum(p.numel() for p in net.parameters()) for net in (predictor.model, smaller)]
    show(f"parameters {counts[0]:,} -> {counts[1]:,}")
    show(f"{importance.metric} {importance.value:.4f} -> {value:.4f} on {opened.note}")
    show(f"model in {output}")
