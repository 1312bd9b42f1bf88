"""`saccade analyze distance`: what attention does."""

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions


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
