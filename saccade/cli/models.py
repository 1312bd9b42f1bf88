"""`saccade models`: the models that can be trained and loaded."""

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from saccade.checkpoints.published import PUBLISHED
from saccade.cli.options import Json
from saccade.errors import ConfigError
from saccade.json_io import dump_json
from saccade.models.cost_table import CostRow, read_costs
from saccade.models.zoo import architecture_of, list_models, near_names
from saccade.tasks.table import TASKS, task_of_model, trains

TASK_HELP = f"Only models for this task: {', '.join(TASKS)}."


def models(
    name: str = "*",
    /,
    *,
    task: Annotated[str | None, Parameter(help=TASK_HELP)] = None,
    image_size: int | None = None,
    as_json: Json = False,
) -> None:
    """List the models with their task, parameters, multiply-adds of one input, and where published weights are.

    Parameters
    ----------
    name
        Only models whose name contains this, such as vit, or matches it, such as "vit_b*".
    image_size
        Cost at this side in pixels instead of the model's own; it is measured, which takes a moment.
    """
    names = [model for model in list_models(name) if task is None or trains(task, architecture_of(model))]
    if not names:
        raise ConfigError(_nothing(name, task))
    costs = read_costs() if image_size is None else _measured(names, image_size)
    rows = [_row(costs[model]) for model in names]
    print(dump_json(rows) if as_json else _text(rows))


def _row(cost: CostRow) -> dict[str, Any]:
    architecture = architecture_of(cost.name)
    published = PUBLISHED.get(cost.name)
    return {
        "name": cost.name,
        "task": task_of_model(cost.name, architecture),
        "architecture": architecture,
        "params": cost.params,
        "gmacs": round(cost.gmacs, 3),
        "image_size": None if cost.image_size is None else list(cost.image_size),
        "tokens": cost.tokens,
        "weights": None if published is None else published.source,
        "format": None if published is None else published.format,
        "licence": None if published is None else published.licence,
    }


def _text(rows: Sequence[dict[str, Any]]) -> str:
    width = max(len(row["name"]) for row in rows)
    head = f"{'model':<{width}} {'task':<14} {'parameters':>13} {'GMAC':>9}  {'input':<11}"
    lines = [f"{head} published weights (licence)"]
    for row in rows:
        size = row["image_size"]
        shape = f"{row['tokens']} tokens" if size is None else f"{size[0]} x {size[1]}"
        cost = f"{row['params']:>13,} {row['gmacs']:>9.3f}"
        weights = "" if row["weights"] is None else f"{row['weights']} ({row['licence']})"
        lines.append(f"{row['name']:<{width}} {row['task']:<14} {cost}  {shape:<11} {weights}".rstrip())
    if any(row["weights"] for row in rows):
        lines.append("hub:ORG/NAME is a model for every command; other checkpoints of these formats open as well")
    return "\n".join(lines)


def _measured(names: Sequence[str], image_size: int) -> dict[str, CostRow]:
    """The costs at another size, from the models themselves."""
    import torch

    from saccade.models.cost import measure_cost
    from saccade.models.zoo import create

    rows = {}
    for name in names:
        with torch.device("meta"):  # shapes without memory
            model = create(name, image_size=image_size)
        cost, size = measure_cost(model), model.config.image_size
        tokens = model.config.context_length if size is None else None
        rows[name] = CostRow(name, cost.params, cost.macs, size, tokens)
    return rows


def _nothing(name: str, task: str | None) -> str:
    """Why no model is listed, and what to do."""
    matching = list_models(name)
    if matching:
        tasks = dict.fromkeys(task_of_model(model, architecture_of(model)) for model in matching)
        return f"no model whose name has {name!r} is for {task}; there are some for {', '.join(tasks)}"
    close = near_names(name)
    hint = f"did you mean {' or '.join(close)}?" if close else "`saccade models` lists them all"
    return f"no model has {name!r} in its name; {hint}"
