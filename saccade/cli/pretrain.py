"""`saccade pretrain`: pre-training without labels, on images or texts."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.train import TrainOptions, start_or_resume
from saccade.tasks.table import pretraining_task


def pretrain(
    data: str | None = None,
    /,
    *,
    recipe: str = "",
    config: Path | None = None,
    output: Path | None = None,
    resume: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    options: TrainOptions | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Pre-train on images without labels, or on texts, by predicting masked parts of them.

    A masked autoencoder (--model mae_...) reconstructs the pixels of masked patches; masked patch prediction (--model
    masked_vit_...) predicts their colours. Fine-tune the encoder with saccade train DATA --init RUN. A BERT predicts
    the masked words of a text.

    Parameters
    ----------
    data
        A folder of images at any depth, a zip, tar shards, or "digits". Labels are not used; images that a
        classifier's split would hold out are held out here too. Or a text file (.txt), a sentence a line, an empty line
        between documents; or "numbers".
    recipe
        What to start from: mae, or mae_digits; of texts words.
    config
        A YAML file over the recipe, such as the config.yaml of a run.
    output
        The run's folder; runs/NAME after the data unless given.
    resume
        Go on with this run, or with the last one of the data's name.
    set
        Any option of the config, as KEY=VALUE: --set model.options.mask_ratio=0.6
    dry_run
        Print the resolved config and stop.
    """
    overrides = (options or TrainOptions()).overrides()
    if not recipe and config is None:
        overrides = {"task": pretraining_task(data or ""), **overrides}
    return start_or_resume(data, recipe, config, output, resume, overrides, set, dry_run)
