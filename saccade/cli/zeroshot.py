"""`saccade zeroshot`: classes in words."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.inference.predictor import Predictor


@Parameter(name="*")
@dataclass(frozen=True)
class MeasureOptions:
    """Whether classes in words are measured."""

    evaluate: Annotated[bool, Parameter(negative="")] = False
    """Measure on labelled images, with the first sentence alone and with the mean of all."""
    split: str = "auto"
    """With --evaluate: as for `saccade evaluate`."""


def zeroshot(
    model: str,
    images: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    labels: str = "",
    template: Annotated[list[str] | None, Parameter(negative="")] = None,
    templates: str = "",
    measured: MeasureOptions | None = None,
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
        Files, folders (all images below them) and patterns; with --evaluate one labelled data set, as for training.
    labels
        Names with commas between, a text file with one a line, or "digits"; with --evaluate one for each class, in the
        data's order, its own names unless given.
    template
        A sentence with {} for the name, "a photo of a {}." unless given; may be given several times.
    templates
        A text file with one sentence a line, or "photos" or "scenes": a class is the mean of all.
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
    from saccade.inference.texts import read_lines, tokenizer_of
    from saccade.inference.zero_shot import ZeroShot

    if top < 1:
        raise ConfigError(f"--top must be at least 1, not {top}")
    packaged = labels == "digits" or Path(labels).is_file()
    names = read_lines(labels) if packaged else [n.strip() for n in labels.split(",") if n.strip()]
    sentences = [*(template or []), *(read_lines(templates) if templates else [])] or ["a photo of a {}."]
    asked_for = measured or MeasureOptions()
    if asked_for.evaluate:
        if len(images) != 1:
            raise ConfigError(f"--evaluate takes one labelled data set, not {len(images)}")
        _evaluate(
            load(model, device=device), images[0], names, sentences, vocabulary, asked_for.split, batch_size, as_json
        )
        return
    if not names:
        raise ConfigError("give the classes: --labels cat,dog, or a text file with one a line")
    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    predictor = load(model, device=device)
    asked = ZeroShot(predictor, names, sentences, tokenizer_of(predictor, vocabulary))
    found = asked.stream(paths, top=top, batch_size=batch_size)
    if as_json:
        print(json.dumps([one.to_dict() for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        print(one, flush=True)


def _evaluate(
    predictor: "Predictor", data: str, names: list[str], sentences: list[str], vocabulary: str, split: str,
    batch_size: int, as_json: bool,
) -> None:  # fmt: skip
    from dataclasses import asdict

    from saccade.cli.counting import counting
    from saccade.inference.features import default_cache
    from saccade.inference.zero_shot import evaluate_zero_shot

    with counting("images") as advance:
        found = evaluate_zero_shot(
            predictor, data, names, sentences, vocabulary=vocabulary, split=split, batch_size=batch_size,
            cache=default_cache(), on_images=lambda done: advance(done, done),
        )  # fmt: skip
    if as_json:
        print(json.dumps(asdict(found), indent=1, ensure_ascii=False))
        return
    print(f"{found.split} ({found.note})")
    print(f"single prompt {sentences[0]!r}: {found.single}")
    print(f"ensemble of {len(sentences)}: {found.ensemble}")
