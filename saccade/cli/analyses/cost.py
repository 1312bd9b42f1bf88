"""`saccade analyze cost`: cost of a model by image size, or by the length of a text."""

from typing import Annotated

from cyclopts import Parameter

from saccade.cli.analyses.options import OutputOptions


def cost(
    model: str,
    /,
    *,
    sizes: Annotated[list[int] | None, Parameter(consume_multiple=True, negative="")] = None,
    batch_size: int = 1,
    time: bool = True,
    device: str = "cpu",
    result: OutputOptions | None = None,
) -> None:
    """Parameters, multiply-adds with the quadratic part of attention, activations and measured time, by size.

    Parameters
    ----------
    model
        A run, a model directory, a published file or hub:ORG/NAME.
    sizes
        Sides of square images in pixels (default: once, twice, three and four times the model's own size); for a text
        model, numbers of tokens (default: a quarter to four quarters of its context length).
    batch_size
        Inputs per batch in the timed runs.
    time
        Measure the time of the forward pass.
    device
        Device, such as cpu, cuda or auto.
    """
    delivery = result or OutputOptions()
    delivery.check()
    from saccade.analysis.cost_by_size import cost_by_size
    from saccade.reporting.cost_plots import cost_figure
    from saccade.tasks.loading import load

    predictor = load(model, device=device)
    squares = None if sizes is None else [(side, side) if predictor.reads_images else side for side in sizes]
    made = cost_by_size(predictor, squares, batch_size=batch_size, timed=time)
    delivery.deliver("cost", made, lambda: cost_figure(made))
