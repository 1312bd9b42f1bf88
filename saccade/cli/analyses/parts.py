"""`saccade analyze heads`: importance of attention heads and blocks."""

from saccade.cli.analyses.options import DataOptions, ModelOptions, OutputOptions
from saccade.errors import ConfigError


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
    """Change of a metric without each attention head and each block, with paired 95 % intervals.

    Also for models of texts. On images without targets, and for encoders without classes, the change of the
    probability of the predicted class, or of the output.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    data
        A data set of the model's task, with targets; or an image, or a pattern such as "photos/*.jpg".
    metric
        One of the task's main metrics, such as accuracy (default: the first).
    seed
        Seed of the bootstrap for the intervals.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.importance import measure_dependence, measure_importance
    from saccade.analysis.inputs import image_files
    from saccade.cli.counting import counting
    from saccade.reporting.attention_plots import importance_figure

    predictor = (opened or ModelOptions()).load(model)
    images = (inputs or DataOptions()).open(predictor, data, texts=True)
    targetless = bool(image_files(data)) or (predictor.task.class_targets == ("target",) and not predictor.labels)
    if targetless and metric is not None:
        raise ConfigError(f"--metric {metric} needs targets, and {data} has none for this model: leave it out")
    with counting("parts") as advance:
        if targetless:
            importance = measure_dependence(predictor, images, seed=seed, on_parts=advance)
        else:
            importance = measure_importance(predictor, images, metric=metric, seed=seed, on_parts=advance)
    delivery.deliver("heads", importance, lambda: importance_figure(importance))
