"""`saccade analyze` distance, attention, rollout, flow, relevance, grad-cam, attnlrp, rise: analyses of attention and
of what outputs depend on."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions, PlaceOptions
from saccade.cli.options import MapOptions
from saccade.errors import ConfigError

if TYPE_CHECKING:
    from saccade.analysis.image_maps import Method


def distance(
    model: str,
    data: str,
    /,
    *,
    budget: str = "4 GiB",
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Mean attention distance of each head in pixels, with its spread over the images: figure 7 of the ViT paper.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set of the model's task, an image or a pattern such as "photos/*.jpg".
    budget
        Memory that the attention of one batch may take.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.attention_distance import measure_attention_distance
    from saccade.cli.counting import counting
    from saccade.reporting.attention_plots import distance_figure

    predictor = (opened or ModelOptions()).load(model)
    images = (inputs or DataOptions()).open(predictor, data)
    with counting("images") as advance:
        distances = measure_attention_distance(predictor, images, budget=budget, on_images=advance)
    delivery.deliver("distance", distances, lambda: distance_figure(distances))


def attention(
    model: str,
    image: str,
    /,
    *,
    query: str = "",
    point: tuple[float, float] | None = None,
    text: str | None = None,
    layer: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    head: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    budget: str = "4 GiB",
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Attention of one query over an image, or between the words of a text, in every layer and head.

    For a model that generates texts, also the cross-attention of each word over the source or the image.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    image
        An image file; a text for a text model.
    query
        cls, mean, or the number of a query (an object query of a DETR, a latent of a Perceiver); the class token
        where the head reads it, else the mean of all queries, by default.
    point
        Instead of --query, the patch at a point of the image: two fractions of width and height from the upper left
        corner, such as 0.5 0.25, or column and row of a pixel, such as 120 64.
    text
        For a model of images and texts: the text whose words are shown.
    layer
        Indices of attention layers, negative from the end, or paths with wildcards such as "decoder.*"; all that cover
        the image by default.
    head
        Indices of heads (default: all).
    budget
        Memory that the attention may take.
    """
    delivery = result or OutputOptions()
    delivery.check()
    if query and point is not None:
        raise ConfigError("choose --query or --point")
    if query not in ("", "cls", "mean") and not query.isdecimal():
        raise ConfigError(f"--query is cls, mean or the number of a query, not {query!r}")
    from saccade.analysis.attention_views import attention_view
    from saccade.analysis.token_maps import token_maps
    from saccade.reporting.attention_plots import view_figure
    from saccade.reporting.token_plots import token_figure

    predictor = (opened or ModelOptions()).load(model)
    layers = None if layer is None else [layer_of(one) for one in layer]
    texts = None if text is None else [text]
    reading = None if query or point is not None else PlaceOptions(text=texts).read(predictor, image)
    if reading is not None:
        maps = token_maps(predictor, reading, layers=layers, heads=head, budget=budget)
        return delivery.deliver("attention", maps, lambda: token_figure([maps]))
    view = attention_view(
        predictor,
        image,
        query=point if point is not None else int(query) if query.isdecimal() else query or None,  # type: ignore[arg-type]
        layers=layers,
        heads=head,
        budget=budget,
    )
    delivery.deliver("attention", view, lambda: view_figure(view))


def rollout(
    model: str,
    image: str,
    /,
    *,
    layer: int | None = None,
    place: PlaceOptions | None = None,
    budget: str = "4 GiB",
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Attention rollout (Abnar & Zuidema 2020): the product of all layers' attention, each averaged with the identity.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    image
        An image file; a text for a text model.
    layer
        Last layer, from 0 (default: all). With local or axial attention a layer is a block.
    budget
        Memory that the attention may take.
    """
    _map("rollout", model, image, opened, result, layer=layer, place=place, budget=budget)


def flow(
    model: str,
    image: str,
    /,
    *,
    layer: int | None = None,
    place: PlaceOptions | None = None,
    budget: str = "4 GiB",
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Attention flow (Abnar & Zuidema 2020): the maximum flow from each patch to one token, with attention as capacity.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME; its head must read one token, unless a query or
        point is given.
    image
        An image file; a text for a text model.
    layer
        Last layer, from 0 (default: all).
    budget
        Memory that the attention may take.
    """
    _map("flow", model, image, opened, result, layer=layer, place=place, budget=budget)


def relevance(
    model: str,
    image: str,
    /,
    *,
    target: Annotated[str | None, Parameter(name="--class")] = None,
    place: PlaceOptions | None = None,
    budget: str = "4 GiB",
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Relevance of patches or words for an output (Chefer et al. 2021): attention weighted by its gradient.

    For a text with [MASK], relevance for the predicted token; for a generated text, for each of its words; with --text,
    relevance of patches and words for their similarity.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    image
        An image file; a text for a text model.
    target
        Name of the class (default: the predicted one). Without a point of a segmentation, its whole area.
    budget
        Memory that the attention may take; the gradients take as much again.
    """
    _map("relevance", model, image, opened, result, target=target, place=place, budget=budget)


def grad_cam(
    model: str,
    image: str,
    /,
    *,
    target: Annotated[str | None, Parameter(name="--class")] = None,
    layer: int | None = None,
    place: PlaceOptions | None = None,
    budget: str = "4 GiB",
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Grad-CAM (Selvaraju et al. 2017) on the tokens of a block, or on the last feature map of a ConvNet.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    image
        An image file.
    target
        Name of the class, or the text (default: the predicted one). Without a point of a segmentation, its whole area.
    layer
        Block, from 0 (default: the last one whose patches the output depends on).
    budget
        Memory that the recording may take.
    """
    _map("grad-cam", model, image, opened, result, target=target, layer=layer, place=place, budget=budget)


def attnlrp(
    model: str,
    image: str,
    /,
    *,
    target: Annotated[str | None, Parameter(name="--class")] = None,
    place: PlaceOptions | None = None,
    score: bool = True,
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """AttnLRP (Achtibat et al. 2024): what every patch adds to the logit, negative where it is evidence against the
    class.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    image
        An image file.
    target
        Name of the class (default: the predicted one). Without a point of a segmentation, its whole area.
    score
        Measure how reliable the map is, compared with random maps.
    """
    _map("attnlrp", model, image, opened, result, target=target, place=place, drawn=MapOptions(score=score))


def rise(
    model: str,
    image: str,
    /,
    *,
    target: Annotated[str | None, Parameter(name="--class")] = None,
    place: PlaceOptions | None = None,
    drawn: MapOptions | None = None,
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """RISE (Petsiuk et al. 2018): the mean of random masks, weighted by the probability of the masked image.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME; any classifier.
    image
        An image file.
    target
        Name of the class (default: the predicted one).
    """
    _map("rise", model, image, opened, result, target=target, place=place, drawn=drawn)


def _map(
    method: "Method",
    model: str,
    image: str,
    opened: ModelOptions | None,
    result: OutputOptions | None,
    *,
    target: str | None = None,
    layer: int | None = None,
    place: PlaceOptions | None = None,
    budget: str = "4 GiB",
    drawn: MapOptions | None = None,
) -> None:
    delivery, places, options = result or OutputOptions(), place or PlaceOptions(), drawn or MapOptions()
    delivery.check()
    masks = options.rise(method)
    from saccade.analysis.image_maps import image_map
    from saccade.analysis.map_score import ScoredMap, scored
    from saccade.analysis.token_maps import maps_of_words
    from saccade.cli.counting import counting
    from saccade.reporting.attention_plots import map_figure
    from saccade.reporting.token_plots import token_figure

    predictor = (opened or ModelOptions()).load(model)
    classifier = places.classifier(predictor, method)
    reading = places.read(predictor, image) if classifier is predictor else None
    if reading is not None:
        maps = maps_of_words(predictor, reading, method, target=target, layer=layer, budget=budget)
        return delivery.deliver(method, maps, lambda: token_figure([maps]))
    if classifier is not predictor and len(classifier.labels) == 1:
        target = target or classifier.labels[0]
    with counting("masks") as advance:
        one = image_map(
            classifier, image, method, target=target, layer=layer, query=places.query, point=places.point,
            masks=None if masks is None else replace(masks, on_masks=advance), budget=budget,
        )  # fmt: skip
    measured = scored(classifier, one) if options.score else ScoredMap(one, None)
    delivery.deliver(method, measured, lambda: map_figure([measured]))


def layer_of(text: str) -> int | str:
    """A layer as :func:`saccade.nn.recording.record` takes it: a number, or a path."""
    return int(text) if text.removeprefix("-").isdecimal() else text
