"""`saccade look`: a local page that shows what a model attends to."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.terminal import show
from saccade.errors import ConfigError, DataError, SaccadeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from saccade.engine.attention_groups import ReadsTexts
    from saccade.engine.predictor import Predictor
    from saccade.explorer.recording import OpenImage, OpenText
    from saccade.explorer.session import OpenModel, Session

MAX_IMAGES = 100
DIGITS, BOARDS = 6, 3  # test digits, and images of four of them, that are shown without arguments
BOARD_SIZE = 16  # pixels of a side


def look(
    inputs: Annotated[list[str] | None, Parameter(negative="", consume_multiple=True)] = None,
    /,
    *,
    text: list[str] | None = None,
    port: int = 7280,
    memory: str = "1 GiB",
    image_size: int | None = None,
    device: str = "cpu",
    browser: bool = True,
    export: Path | None = None,
    data: str | None = None,
) -> None:
    """Explore a model: hover over a patch of an image and see what each head attends to.

    Serves a page at 127.0.0.1 until it is interrupted. Without arguments it shows the digits model, which is trained if
    there is none in runs/, on digits, and at twice its size on images of four digits. Needs the extra
    `look`: pip install "saccade[look]".

    Parameters
    ----------
    inputs
        Models (runs, model directories, published files, hub:ORG/NAME), then images (files, folders or patterns).
    text
        A text for a model that reads texts, or a label for a CLIP; may be repeated.
    port
        Port of the page; 0 selects a free one.
    memory
        Limit of recordings and uploaded images.
    image_size
        Side in pixels, instead of the model's own; positions are resampled.
    device
        Device, such as cpu or cuda.
    browser
        Open the page in a browser if there is a desktop.
    export
        Write the page as one file, with the attention of every model on every image inside, instead of serving it.
    data
        A data set of the model's task, on which the page measures head importance and attention distance.
    """
    if export is not None and not export.parent.is_dir():
        raise ConfigError(f"--export: there is no folder {export.parent}")
    from saccade.explorer.session import Session
    from saccade.nn.trace import parse_bytes

    budget = parse_bytes(memory)
    if export is not None:
        write_page(Session(*open_inputs(inputs or [], image_size, device, text or []), budget), export)
        return
    try:
        from saccade.explorer.serve import HOST, serve
        from saccade.web import open_socket
    except ImportError as error:
        raise ConfigError(f'saccade look needs the extra `look`: pip install "saccade[look]" ({error})') from None
    listener = open_socket(HOST, port)
    models, sources = open_inputs(inputs or [], image_size, device, text or [])

    def announce(address: str) -> None:
        print(f"{address}  (Ctrl+C ends it)", flush=True)
        if browser and has_desktop():
            import webbrowser

            webbrowser.open(address)

    serve(Session(models, sources, budget, data=data), listener, announce)


def write_page(session: "Session", path: Path) -> None:
    """Write the page of a session as one file, and print its size.

    Raises:
        ConfigError: there are no images.
    """
    from saccade.checkpoints.atomic import write_atomic
    from saccade.explorer.export import export_page
    from saccade.nn.trace import format_bytes

    runs = sum(session.can_read(model, key) for model in session.models for key in session.inputs)
    if not runs:
        raise ConfigError(
            "--export needs images, or texts for models that read texts: write saccade look MODEL IMAGE --export "
            "page.html, or saccade look MODEL --text 'a text' --export page.html"
        )
    content = export_page(session).encode()
    write_atomic(path, content)
    show(f"{path}: {format_bytes(len(content))}, the attention of {runs} {'run' if runs == 1 else 'runs'} inside")


def has_desktop() -> bool:
    """Whether a browser would open in a window, not in this terminal."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_inputs(
    inputs: list[str], image_size: int | None, device: str, texts: "Sequence[str]" = ()
) -> "tuple[list[OpenModel], list[OpenImage | OpenText]]":
    """The models, images and texts of the arguments.

    Raises:
        ConfigError: no model among them, too many images, or inputs that no model takes.
    """
    from saccade.explorer.recording import OpenImage, OpenText
    from saccade.explorer.session import OpenModel
    from saccade.tasks.loading import load

    names = [text for text in inputs if not is_images(text)]
    if inputs and not names:
        raise ConfigError("there is no model among the arguments: write saccade look MODEL IMAGE")
    if not inputs:
        models, images = digits_and_boards(image_size, device)
        return models, [*images, *(OpenText(text) for text in dict.fromkeys(texts))]
    predictors = [load(name, image_size=image_size, device=device) for name in names]
    models = [OpenModel(name, predictor, text_reader(predictor)) for name, predictor in zip(names, predictors)]
    paths = [path for text in inputs if is_images(text) for path in images_of(text)]
    if len(paths) > MAX_IMAGES:
        raise ConfigError(f"these are {len(paths)} images, the explorer takes {MAX_IMAGES}")
    if paths and not any(model.predictor.reads_images for model in models):
        raise ConfigError(f"{models[0].name} reads texts, not images: give it one with --text")
    if texts and all(model.predictor.reads_images and model.texts is None for model in models):
        raise ConfigError(f"--text: {models[0].name} reads images, not texts")
    images = [OpenImage(path.name, path) for path in dict.fromkeys(paths)]
    return models, [*images, *(OpenText(text) for text in dict.fromkeys(texts))]


def text_reader(predictor: "Predictor") -> "ReadsTexts | None":
    """Text reader for labels typed in the page, for a CLIP; None for other models."""
    from saccade.tasks.contrastive.reading import TextReader

    try:
        return TextReader(predictor)
    except (ConfigError, DataError):  # it has no text encoder, or no tokenizer
        return None


def is_images(text: str) -> bool:
    """Whether an argument names images rather than a model: an image file, a pattern of them, or a folder with some."""
    from saccade.data.images import is_image_name

    path = Path(text)
    if path.is_dir():
        return any(p.is_file() and is_image_name(p.name) for p in path.iterdir()) and not has_model(path)
    return is_image_name(text)


def has_model(folder: Path) -> bool:
    """Whether a folder is a run or a model directory."""
    return any((folder / name).exists() for name in ("config.json", "config.yaml", "model"))


def images_of(text: str) -> list[Path]:
    from saccade.cli.predict import expand

    return list(expand(text))


def digits_model() -> Path:
    """The newest finished run on the digits in runs/; without one, a new run."""
    runs = [path for path in Path("runs").glob("digits*") if (path / "model" / "config.json").is_file()]
    if runs:
        return max(runs, key=lambda path: (path / "model" / "config.json").stat().st_mtime)
    from saccade.cli.train import start_or_resume

    print("there is no model in runs/: training one on handwritten digits (less than a minute)", file=sys.stderr)
    code = start_or_resume(None, "", None, None, None, {}, (), False, False)
    runs = [path for path in Path("runs").glob("digits*") if (path / "model" / "config.json").is_file()]
    if code or not runs:
        raise SaccadeError("the training did not finish; run `saccade train`, then `saccade look runs/digits`")
    return max(runs, key=lambda path: (path / "model" / "config.json").stat().st_mtime)


def digits_and_boards(image_size: int | None, device: str) -> "tuple[list[OpenModel], list[OpenImage]]":
    """Models and images without arguments: the digits model at twice its size on images of four digits, if it supports
    that size, and at its own size on single digits."""
    from saccade.data.builtin.digits import DigitsSource, digits_board, digits_splits
    from saccade.explorer.recording import OpenImage
    from saccade.explorer.session import OpenModel
    from saccade.tasks.loading import load

    run, source = str(digits_model()), digits_splits().test
    assert isinstance(source, DigitsSource)
    whole = OpenModel("digits", load(run, image_size=image_size, device=device))
    singles = [(source.names[index], source.data(index)) for index in range(DIGITS)]
    if image_size is not None:
        return [whole], [OpenImage(name, content) for name, content in singles]
    try:
        boards = OpenModel("digits, four at once", load(run, image_size=BOARD_SIZE, device=device))
    except ConfigError:  # a model of one size
        return [whole], [OpenImage(name, content) for name, content in singles]
    images = []
    for number in range(BOARDS):
        indices = range(4 * number, 4 * number + 4)
        labels = " ".join(source.classes[source.labels[index]] for index in indices)
        images.append(OpenImage(f"four digits: {labels}", digits_board(source, indices), model="0"))
    return [boards, whole], [*images, *(OpenImage(name, content, model="1") for name, content in singles)]
