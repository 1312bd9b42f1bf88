"""`saccade pretrain`: pre-train without labels, by masked image or masked language modelling."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.train import RECIPE_HELP, TrainOptions, start_or_resume
from saccade.tasks.table import data_layouts, pretraining_task


def pretrain(
    data: Annotated[str | None, Parameter(help=f"Training data. {data_layouts(labelled=False)}")] = None,
    /,
    *,
    recipe: Annotated[str, Parameter(help=RECIPE_HELP)] = "",
    config: Path | None = None,
    output: Path | None = None,
    resume: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    options: TrainOptions | None = None,
    set: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    verbose: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Pre-train on images or texts without labels, by masking parts of them and predicting the masked parts.

    A masked autoencoder (--model mae_...) reconstructs the pixels of masked patches; masked patch prediction (--model
    masked_vit_...) predicts their mean colours; BERT predicts masked words. A classifier starts from the result with
    saccade train DATA --init RUN. Images that the split of a classifier would hold out are held out here too.

    Parameters
    ----------
    config
        YAML file that overrides the recipe, such as the config.yaml of a run.
    output
        Folder of the run (default: runs/NAME, named after the data). An existing run is never overwritten.
    resume
        Resume this run, or without a value the last one on this data.
    set
        Any option of the config, as KEY=VALUE: --set model.options.mask_ratio=0.6
    dry_run
        Print the resolved config and exit.
    verbose
        Also print details such as the precision of matrix products and the reason for it.
    """
    overrides = (options or TrainOptions()).overrides()
    if not recipe and config is None:
        overrides = {"task": pretraining_task(data or ""), **overrides}
    return start_or_resume(data, recipe, config, output, resume, overrides, set, dry_run, verbose)
