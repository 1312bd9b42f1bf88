"""The explorer in a notebook: a recorded run as a self-contained page.

with saccade.record(model) as trace:
    logits = model(images)
saccade.show(trace, model, images)          # the last expression of a cell

saccade.show_images(predictor, ["cat.jpg"])
saccade.show_texts(predictor, ["two hundred and seven"])
"""

import html
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from saccade.analysis.attention_maps import to_pixels
from saccade.checkpoints.atomic import write_atomic
from saccade.engine.predictor import Predictor
from saccade.errors import ConfigError
from saccade.explorer.export import assemble_page, data_url, export_page, pack
from saccade.explorer.recording import OpenImage, OpenText, Recording, encode
from saccade.explorer.session import OpenModel, Session
from saccade.explorer.streams import MEAN, groups_by_shape, prefix_names, streams_of
from saccade.nn.trace import Trace, format_bytes

MEMORY = 2**30  # bytes of attention in one page


class Page:
    """A page that a notebook displays, and that can be written to a file.

    Attributes:
        html: the whole page; it fetches nothing.
        height: in pixels, of the frame in a notebook.
    """

    def __init__(self, content: str, height: int = 760):
        self.html, self.height = content, height

    def __repr__(self) -> str:
        return f"Page({format_bytes(len(self.html))}; .save(path) writes it, a notebook displays it)"

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self.height}px;border:0"
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" style="{style}" title="Saccade: recorded attention"></iframe>'
        )

    def save(self, path: str | Path) -> None:
        """Write the page to a file that a browser opens."""
        write_atomic(Path(path), self.html.encode())


def show(trace: Trace, model: nn.Module, images: Tensor, *, names: Sequence[str] | None = None) -> Page:
    """The interactive view of a recorded run.

    Args:
        trace: trace with all heads and queries of the chosen layers.
        model: the model that ran.
        images: its input images, ``[B, C, H, W]``. They are displayed with their smallest value in black and their
            largest in white, because a model alone has no record of the normalisation.
        names: names of the images; their indices by default.

    Raises:
        ConfigError: the images are not those of the trace.
        RecordingError: no recorded attention is over the images.
    """
    inner = getattr(model, "_orig_mod", model)
    batch = next((len(weights) for weights in trace.attention.values()), 0)
    if images.ndim != 4 or len(images) != batch:
        raise ConfigError(f"the trace is of {batch} images, but these are {list(images.shape)}: give [B, C, H, W]")
    names = [f"image {i}" for i in range(batch)] if names is None else list(names)
    if len(names) != batch:
        raise ConfigError(f"{len(names)} names for {batch} images")
    recordings = [recording_of(trace, inner, images[i], i) for i in range(batch)]
    return Page(
        assemble_page(
            models=[model_entry(inner)],
            images=[
                {"key": str(i), "name": name, "kind": "image", "thumbnail": data_url(recording.shown)}
                for i, (name, recording) in enumerate(zip(names, recordings))
            ],
            recordings={f"0/{i}": pack(recording) for i, recording in enumerate(recordings)},
        )
    )


def show_images(predictor: Predictor, images: Sequence[str | Path]) -> Page:
    """The interactive view of what a model attends to in some image files, with its predictions.

    Raises:
        ImageError: an image cannot be read.
        RecordingError: the model has no attention over an image, or it takes more than 1 GiB.
    """
    opened = [OpenImage(Path(path).name, Path(path)) for path in images]
    model = OpenModel(predictor.source.architecture, predictor)
    return Page(export_page(Session([model], opened, MEMORY)))


def show_texts(predictor: Predictor, texts: Sequence[str]) -> Page:
    """The interactive view of what a model of texts attends to in some texts, with its predictions: the alignment of a
    generated text, or the tokens of a masked language model.

    Raises:
        ConfigError: the model reads images, or a text is empty or too long.
        RecordingError: the attention takes more than 1 GiB.
    """
    if predictor.reads_images:
        raise ConfigError(f"this {predictor.source.architecture} reads images: use saccade.show_images")
    model = OpenModel(predictor.source.architecture, predictor)
    return Page(export_page(Session([model], [OpenText(text) for text in texts], MEMORY)))


@torch.no_grad()
def recording_of(trace: Trace, model: nn.Module, image: Tensor, index: int) -> Recording:
    """The recording of one image ``[C, H, W]`` in the batch of a trace."""
    config = getattr(model, "config", None)
    one = replace(trace, attention={path: w[index : index + 1].detach() for path, w in trace.attention.items()})
    layout = trace.layout
    groups = groups_by_shape(one, layout, prefix_names(config, layout.num_prefix if layout else 0))
    streams = streams_of(one, model, groups)
    pixels = image.detach().float().cpu()
    low, high = pixels.amin(), pixels.amax()
    shown = to_pixels((pixels - low) / (high - low).clamp(min=1e-12))
    height, width = shown.shape[:2]
    reads_class_token = streams[0].prefix and getattr(config, "pooling", "cls").startswith("cls")
    return Recording(
        streams=tuple(streams),
        size=(height, width),
        view=(0.0, 0.0, float(width), float(height)),
        shown=encode(shown),
        result=None,
        drawn=b"",
        query=0 if reads_class_token or not streams[0].over_grid else MEAN,
    )


def model_entry(model: nn.Module) -> dict[str, object]:
    """The page's description of a module without a predictor."""
    name = type(model).__name__
    count = sum(parameter.numel() for parameter in model.parameters())
    entry: dict[str, object] = dict.fromkeys(("masksPatches", "masksTokens", "readsTexts", "readsLabels"), False)
    described = {"key": "0", "name": name, "architecture": name, "task": "", "parameters": count, "classes": 0}
    return entry | described
