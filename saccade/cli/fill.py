"""`saccade fill`: hidden words of a text."""

import json
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.errors import ConfigError


def fill(
    model: str,
    texts: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    top: int = 5,
    device: str = "cpu",
    as_json: Json = False,
) -> None:
    """Name the hidden words of texts: `saccade fill runs/words "two hundred [MASK] seven"`.

    Parameters
    ----------
    model
        A run or a model directory of a BERT or a Perceiver of texts, or a published BERT with its vocabulary.
    texts
        With [MASK] in the place of each word to name.
    top
        Words to name for each place.
    device
        Such as cpu or cuda.
    """
    if top < 1:
        raise ConfigError(f"--top must be at least 1, not {top}")
    from saccade.inference.predictor import load
    from saccade.inference.writing import fill as guess

    predictor = load(model, device=device)
    found = [(text, guess(predictor, text, top=top)) for text in texts]
    if as_json:
        rows = [{"text": text, "guesses": [one.to_dict() for one in guesses]} for text, guesses in found]
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    for text, guesses in found:
        print(text)
        for one in guesses:
            print(f"  {one}")
