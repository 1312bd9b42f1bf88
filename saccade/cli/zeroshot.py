"""`saccade zeroshot`: classes in words."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.errors import ConfigError


def zeroshot(
    model: str,
    images: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    labels: str = "",
    template: Annotated[list[str] | None, Parameter(negative="")] = None,
    templates: Path | None = None,
    vocabulary: str = "",
    top: int = 5,
    batch_size: int = 16,
    device: str = "cpu",
    as_json: Json = False,
) -> None:
    """Say which of some classes images show, with a CLIP that was never trained on them.

    Parameters
    ----------
    model
        A model directory, a published file or hub:ORG/NAME.
    images
        Files, folders (all images below them) and patterns.
    labels
        Names with commas between, or a text file with one a line.
    template
        A sentence with {} for the name, "a photo of a {}." unless given; may be given several times.
    templates
        A text file with one sentence a line: a class is the mean of all.
    vocabulary
        A folder with vocab.json and merges.txt, or OpenAI's list of merges; found beside the model, or in an installed
        package, unless given.
    top
        Classes to name for each image.
    batch_size
        Images at once.
    device
        Such as cpu or cuda.
    """
    from saccade.cli.predict import expand
    from saccade.inference.predictor import load
    from saccade.inference.zero_shot import ZeroShot, tokenizer_of

    if top < 1:
        raise ConfigError(f"--top must be at least 1, not {top}")
    names = _lines(Path(labels)) if Path(labels).is_file() else [n.strip() for n in labels.split(",") if n.strip()]
    if not names:
        raise ConfigError("give the classes: --labels cat,dog, or a text file with one a line")
    sentences = [*(template or []), *(_lines(templates) if templates else [])] or ["a photo of a {}."]
    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    predictor = load(model, device=device)
    asked = ZeroShot(predictor, names, sentences, tokenizer_of(predictor, vocabulary))
    found = asked.stream(paths, top=top, batch_size=batch_size)
    if as_json:
        print(json.dumps([one.to_dict() for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        print(one, flush=True)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
