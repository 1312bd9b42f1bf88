"""`saccade explain`: draw what a model attends to."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import ModelOptions, PlaceOptions
from saccade.cli.counting import counting
from saccade.cli.options import MapMethod, MapOptions, WayOptions
from saccade.cli.terminal import name_on_one_line, show
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.engine.predictor import Predictor
    from saccade.engine.report import Drawing

SUFFIXES = (".png", ".svg", ".pdf", ".jpg")


@Parameter(name="*")
@dataclass(frozen=True)
class MergingOptions(ModelOptions):
    """How a model is opened, and whether its tokens are merged."""

    merge: int = 0
    """Tokens to merge in each block of a ViT, a DeiT or a DPT; the maps then show the merged model."""

    def load(self, model: str) -> "Predictor":
        return WayOptions(merge=self.merge).merged(super().load(model))


def explain(
    model: str,
    images: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])] = Path("attention.png"),
    place: PlaceOptions | None = None,
    method: MapMethod | None = None,
    target: Annotated[str | None, Parameter(name="--class")] = None,
    layer: int | None = None,
    head: int | None = None,
    budget: str = "4 GiB",
    opened: MergingOptions | None = None,
    drawn: MapOptions | None = None,
) -> None:
    """Draw what a model attends to.

    For a classifier: the rollout of all layers and each head of the last layer, over the image. For a DETR: its
    detections and the cross-attention of their queries. For a model that generates texts: the cross-attention of each
    token. With --point: the attention of one patch in every layer, also for a DPT. With --method, --layer, --head or
    --query: one map per image; with --method and --point: the map of the depth, class or box at this point; with
    --text: the relevance of patches and words for their similarity; with several --text: the model is a classifier
    whose classes are the texts. For a text model: the attention of its words, or a --method applied to them. The
    reliability of the map, or the reason why it has no score, is printed below it.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    images
        Files, folders or patterns, one row per image; texts for a text model.
    output
        File of the picture: .png, .svg, .pdf or .jpg.
    method
        One map per image; by default attention, relevance with --class, and Grad-CAM of a ConvNet. For the token that
        the head reads: the attention of a layer, or rollout or flow through all layers. For a class, a box, or the
        depth or class at a point: relevance through attention (Chefer et al. 2021), AttnLRP (Achtibat et al. 2024),
        Grad-CAM on tokens or on the last feature map of a ConvNet. For a class or a text: RISE (Petsiuk et al. 2018),
        integrated gradients or occlusion (with the extra `attribution`).
    target
        Name of the class, or the text, for relevance, attnlrp, grad-cam, rise, integrated-gradients and occlusion; the
        predicted one by default.
    layer
        Layer of the attention, or last layer of rollout and flow; from 0, negative from the end.
    head
        Head of the attention, from 0 (default: the mean of all).
    budget
        Memory that the attention of one picture may take.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output must end in {', '.join(SUFFIXES)}, not {output.suffix or output.name!r}")
    if not output.parent.is_dir():
        raise ConfigError(f"--output: there is no folder {output.parent}")
    from saccade.api import explain as draw
    from saccade.api import explain_words
    from saccade.cli.predict import expand

    options = drawn or MapOptions()
    masks = options.rise(method)
    places, predictor = place or PlaceOptions(), (opened or MergingOptions()).load(model)
    inputs = list(dict.fromkeys(path for text in images for path in expand(text))) if predictor.reads_images else images
    with counting("masks") as advance:
        way = method if masks is None else replace(masks, on_masks=advance)
        if places.text and not places.alone:
            drawing = explain_words(
                predictor, inputs, places.text, method=way, target=target, layer=layer, head=head,
                score=options.score, budget=budget,
            )  # fmt: skip
        else:
            drawing = draw(
                predictor, inputs, point=places.point, query=places.query, method=way, target=target, layer=layer,
                head=head, score=options.score, budget=budget,
            )  # fmt: skip
    deliver(drawing, output)


def deliver(drawing: "Drawing", output: Path) -> None:
    """Write the picture and print its lines."""
    from saccade.checkpoints.atomic import write_atomic

    write_atomic(output, lambda path: drawing.figure.savefig(path, format=output.suffix[1:].lower()))
    show(*map(name_on_one_line, drawing.lines), f"drawn in {output}")
