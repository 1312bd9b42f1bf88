"""`saccade fill`: predictions for the masked tokens of a text."""

from typing import Annotated

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.cli.terminal import show
from saccade.errors import ConfigError
from saccade.json_io import dump_json


def fill(
    model: str,
    texts: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    top: int = 5,
    device: str = "cpu",
    as_json: Json = False,
) -> None:
    """Predict the masked tokens of texts: `saccade fill runs/words "two hundred [MASK] seven"`.

    Parameters
    ----------
    model
        A run or a model directory of a BERT or a text Perceiver, or a published BERT with its vocabulary.
    texts
        Texts with [MASK] in place of each token to predict.
    top
        Number of tokens to print for each [MASK], the most probable first.
    device
        Device, such as cpu or cuda.
    """
    if top < 1:
        raise ConfigError(f"--top must be at least 1, not {top}")
    from saccade.tasks.loading import load
    from saccade.tasks.masked_lm.fill import fill as fill_masks

    results = fill_masks(load(model, device=device), texts, top=top)
    if as_json:
        print(dump_json([result.to_dict() for result in results]))
        return
    for result in results:
        show(result)
