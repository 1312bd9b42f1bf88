"""`saccade analyze` positions, filters, activations, token-pca, cka, norms, lens: representations in the layers."""

from typing import Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions


def positions(model: str, /, *, opened: ModelOptions | None = None, result: OutputOptions | None = None) -> None:
    """Cosine similarity of each position embedding with all others, learned or sinusoidal; with --image-size after
    resampling.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.position_similarity import measure_positions
    from saccade.reporting.layer_plots import positions_figure

    options = opened or ModelOptions()
    size = options.image_size
    predictor = options.load(model)
    measured = measure_positions(predictor.model, None if size is None else (size, size))
    delivery.deliver("positions", measured, lambda: positions_figure(measured))


def filters(
    model: str,
    /,
    *,
    raw: Annotated[bool, Parameter(negative="")] = False,
    count: int | None = None,
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Principal components of the patch embedding's filters; for a ConvNet the filters of its first layer.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    raw
        Also draw the filters of a patch embedding themselves.
    count
        Number of components (default: 28) or filters (default: 96).
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.patch_filters import first_filters, patch_filters
    from saccade.reporting.layer_plots import filters_figure

    network = (opened or ModelOptions()).load(model).model
    made = None if raw else patch_filters(network, count or 28)
    made = made or first_filters(network, count or 96)
    delivery.deliver("filters", made, lambda: filters_figure(made))


def activations(
    model: str,
    image: str,
    /,
    *,
    count: int = 16,
    layer: int | None = None,
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """The strongest channels of every layer for one image, as maps.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    image
        An image file.
    count
        Channels of each layer.
    layer
        One layer, from 0, negative from the end (default: all).
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.activations import activations as measure
    from saccade.reporting.layer_plots import activations_figure

    made = measure((opened or ModelOptions()).load(model), image, count=count, layer=layer)
    delivery.deliver("activations", made, lambda: activations_figure(made))


def token_pca(
    model: str,
    images: Annotated[list[str], Parameter(negative="", consume_multiple=True)],
    /,
    *,
    layer: int = -1,
    opened: ModelOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Patches of images coloured by the first three principal components of their tokens, as in DINOv2.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    images
        Files, folders or patterns; all images share the components.
    layer
        Index of the block or feature map, from 0, negative from the end.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.inputs import require_images
    from saccade.analysis.token_pca import token_colours
    from saccade.cli.predict import expand
    from saccade.reporting.layer_plots import colours_figure

    predictor = (opened or ModelOptions()).load(model)
    require_images(predictor)
    paths = list(dict.fromkeys(path for text in images for path in expand(text)))
    made = token_colours(predictor, paths, layer=layer)
    delivery.deliver("token-pca", made, lambda: colours_figure(made))


def cka(
    model: str,
    data: str,
    /,
    *,
    other: str | None = None,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Similarity of the layers' representations: linear CKA of every pair of layers, within one model or between two.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, or a pattern such as "photos/*.jpg".
    other
        A second model, whose layers are the columns.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.similarity import layer_similarity
    from saccade.cli.counting import counting
    from saccade.reporting.layer_plots import similarity_figure

    options, source = opened or ModelOptions(), inputs or DataOptions()
    first = options.load(model)
    second = None if other is None else options.load(other)
    images = source.open(first, data)
    with counting("images") as advance:
        made = layer_similarity(
            first, second, images, None if second is None else source.open(second, data), on_images=advance
        )
    delivery.deliver("cka", made, lambda: similarity_figure(made))


def norms(
    model: str,
    data: str,
    /,
    *,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """Norms of the tokens by layer and the share of outliers, which registers avoid (Darcet et al. 2023).

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, an image or a pattern such as "photos/*.jpg".
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.token_norms import token_norms
    from saccade.cli.counting import counting
    from saccade.reporting.layer_plots import norms_figure

    predictor = (opened or ModelOptions()).load(model)
    images = (inputs or DataOptions()).open(predictor, data)
    with counting("images") as advance:
        made = token_norms(predictor, images, on_images=advance)
    delivery.deliver("norms", made, lambda: norms_figure(made))


def lens(
    model: str,
    data: str,
    /,
    *,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """The prediction of a classifier after each layer: its head applied to the tokens of every block (logit lens).

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set, an image or a pattern such as "photos/*.jpg".
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.logit_lens import logit_lens
    from saccade.cli.counting import counting
    from saccade.reporting.layer_plots import lens_figure

    predictor = (opened or ModelOptions()).load(model)
    images = (inputs or DataOptions()).open(predictor, data)
    with counting("images") as advance:
        made = logit_lens(predictor, images, on_images=advance)
    delivery.deliver("lens", made, lambda: lens_figure(made))
