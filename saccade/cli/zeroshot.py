"""`saccade zeroshot`: zero-shot classification."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.options import Json, RunOptions
from saccade.cli.terminal import printable, show
from saccade.errors import ConfigError
from saccade.json_io import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from saccade.engine.predictor import Predictor
    from saccade.tasks.classification.results import Classification

NO_CLASSES = "give the classes: --labels cat,dog, or a text file with one name per line"


@Parameter(name="*")
@dataclass(frozen=True)
class MeasureOptions:
    """Whether zero-shot classification is measured."""

    evaluate: Annotated[bool, Parameter(negative="")] = False
    """Measure on labelled images: with the first template alone, and with the mean of all templates."""
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
    running: RunOptions | None = None,
    as_json: Json = False,
) -> None:
    """Classify images with a CLIP: the classes are given as texts, without training.

    Parameters
    ----------
    model
        A model directory, a published file, hub:ORG/NAME, or a file of `saccade export`, which needs no torch.
    images
        Files, folders (all images below them) and patterns; with --evaluate one labelled data set, as for training.
    labels
        Class names separated by commas, a text file with one name per line, or "digits". With --evaluate one name for
        each class, in the order of the data; the data's own class names by default.
    template
        Prompt with {} in place of the class name; may be given several times. Default: "a photo of a {}."
    templates
        Text file with one prompt per line, or "photos" or "scenes": the vector of a class is the mean over all prompts.
    vocabulary
        Folder with vocab.json and merges.txt, tokenizer.json or spiece.model, or OpenAI's list of merges. Default: the
        files in the model's folder, otherwise OpenAI's from an installed package.
    top
        Number of classes to print for each image.
    batch_size
        Images per batch.
    """
    from saccade.cli.predict import expand
    from saccade.inference.export.metadata import is_exported
    from saccade.tasks.contrastive.prompts import TEMPLATE, read_lines

    if top < 1:
        raise ConfigError(f"--top must be at least 1, not {top}")
    packaged = labels == "digits" or Path(labels).is_file()
    names = read_lines(labels) if packaged else [n.strip() for n in labels.split(",") if n.strip()]
    prompts = [*(template or []), *(read_lines(templates) if templates else [])] or [TEMPLATE]
    measure = measured or MeasureOptions()
    way = running or RunOptions()
    if is_exported(model):
        if measure.evaluate or vocabulary or way != RunOptions():
            raise ConfigError("an exported file has its own vocabulary and options, and only classifies images")
        results, independent = _exported(model, images, names, prompts, top, batch_size)
        report(results, as_json, independent)
        return
    from saccade.tasks.contrastive.texts import tokenizer_of
    from saccade.tasks.contrastive.zero_shot import ZeroShot
    from saccade.tasks.loading import load

    if measure.evaluate:
        if len(images) != 1:
            raise ConfigError(f"--evaluate takes one labelled data set, not {len(images)}")
        predictor = way.apply(load(model, device=way.device), batch_size)
        _evaluate(predictor, images[0], names, prompts, vocabulary, measure.split, batch_size, as_json)
        return
    if not names:
        raise ConfigError(NO_CLASSES)
    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    predictor = way.apply(load(model, device=way.device), min(batch_size, len(paths)))
    classifier = ZeroShot(predictor, names, prompts, tokenizer_of(predictor, vocabulary))
    report(classifier.stream(paths, top=top, batch_size=batch_size), as_json, classifier.independent)


def _exported(
    model: str, images: list[str], names: list[str], prompts: list[str], top: int, batch_size: int
) -> "tuple[Iterator[Classification], bool]":
    """The classes of images by both towers of an exported file, and whether their probabilities are independent; loads
    no torch."""
    from saccade.cli.predict import expand
    from saccade.inference.export.runner import open_exported
    from saccade.tasks import table
    from saccade.tasks.contrastive.exported import EmbeddingDecoder
    from saccade.tasks.contrastive.exported_zero_shot import ExportedZeroShot

    if not names:
        raise ConfigError(NO_CLASSES)
    predictor = open_exported(model, table.decoder)
    if not isinstance(predictor.decoder, EmbeddingDecoder):
        raise ConfigError(f"texts need a CLIP; {model} is for {predictor.metadata.task}")
    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    classifier = ExportedZeroShot(predictor.decoder, names, prompts)
    embeddings = predictor.stream(paths, batch_size=batch_size)
    return classifier.stream(embeddings, top=top), classifier.independent  # type: ignore[arg-type]


def report(results: "Iterable[Classification]", as_json: bool, independent: bool) -> None:
    """Print results as they come, or all as JSON; `independent` probabilities do not sum to 1 over the classes."""
    if as_json:
        print(dump_json([result.to_dict() for result in results]))
        return
    if independent:
        show("probabilities of each class on its own (sigmoid): they do not sum to 1")
    for result in results:
        print(printable(result), flush=True)


def _evaluate(
    predictor: "Predictor", data: str, names: list[str], prompts: list[str], vocabulary: str, split: str,
    batch_size: int, as_json: bool,
) -> None:  # fmt: skip
    from dataclasses import asdict

    from saccade.cli.counting import counting
    from saccade.engine.features import default_cache
    from saccade.tasks.contrastive.zero_shot import evaluate_zero_shot

    with counting("images") as advance:
        result = evaluate_zero_shot(
            predictor, data, names, prompts, vocabulary=vocabulary, split=split, batch_size=batch_size,
            cache=default_cache(), on_images=lambda done: advance(done, done),
        )  # fmt: skip
    if as_json:
        print(dump_json(asdict(result)))
        return
    show(f"{result.split} ({result.note})")
    show(f"single prompt {prompts[0]!r}: {printable(result.single)}")
    show(f"ensemble of {len(prompts)} prompts: {printable(result.ensemble)}")
