"""`saccade analyze heads`: what a model loses without its parts."""

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions


def heads(
    model: str,
    data: str,
    /,
    *,
    metric: str | None = None,
    seed: int = 0,
    opened: ModelOptions | None = None,
    inputs: DataOptions | None = None,
    result: OutputOptions | None = None,
) -> None:
    """How much a metric changes without each attention head and each block, with paired 95 % intervals.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set of the model's task, with targets.
    metric
        One of the task's main metrics, such as accuracy; the first unless given.
    seed
        Of the draws of images behind the intervals.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.importance import measure_importance
    from saccade.cli.counting import counting
    from saccade.reporting.attention_plots import importance_figure

    predictor = (opened or ModelOptions()).load(model)
    images = (inputs or DataOptions()).open(predictor, data)
    with counting("parts") as advance:
        importance = measure_importance(predictor, images, metric=metric, seed=seed, on_parts=advance)
    delivery.deliver("heads", importance, lambda: importance_figure(importance))
