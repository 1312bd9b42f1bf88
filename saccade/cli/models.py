"""`saccade models`: the models that can be trained and loaded."""

import json

from saccade.cli.options import Json
from saccade.models.zoo import list_models


def models(pattern: str = "*", /, *, image_size: int | None = None, as_json: Json = False) -> None:
    """List the models with their task, parameters, and multiply-adds of one input.

    Parameters
    ----------
    pattern
        Only names that match, such as "vit_b*".
    image_size
        Cost at this side in pixels instead of the model's own.
    """
    import torch

    from saccade.models.cost import measure_cost
    from saccade.models.zoo import architecture_of, create
    from saccade.tasks.table import task_of

    rows = []
    for name in list_models(pattern):
        with torch.device("meta"):  # shapes without memory
            model = create(name, image_size=image_size)
        cost = measure_cost(model)
        size = model.config.image_size
        rows.append(
            {
                "name": name,
                "task": task_of(architecture_of(name)),
                "params": cost.params,
                "gmacs": round(cost.gmacs, 3),
                "image_size": None if size is None else list(size),
                "tokens": model.config.context_length if size is None else None,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    width = max((len(row["name"]) for row in rows), default=5)
    print(f"{'model':<{width}} {'task':<14} {'parameters':>13} {'GMAC':>9}  input")
    for row in rows:
        size = row["image_size"]
        shape = f"{row['tokens']} tokens" if size is None else f"{size[0]} x {size[1]}"
        print(f"{row['name']:<{width}} {row['task']:<14} {row['params']:>13,} {row['gmacs']:>9.3f}  {shape}")
