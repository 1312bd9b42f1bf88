"""The model card: the README of a model directory."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from saccade.engine.results import Metrics
from saccade.engine.room import ModelCard


def model_card(
    *,
    name: str,
    architecture: str,
    labels: Sequence[str],
    provenance: Mapping[str, Any],
    preprocessing: str,
    metrics: Metrics | None,
    card: ModelCard,
) -> str:
    """The model card as Markdown, with the front matter that model hubs read.

    Args:
        name: name of the model.
        architecture, labels, provenance: as in the model directory.
        preprocessing: description of the preprocessing of inputs.
        metrics: metrics of the held-out split, or None.
        card: description of the task.
    """
    data = provenance["data"]
    front: dict[str, Any] = {"library_name": "saccade", "tags": [card.hub_task, architecture]}
    if metrics is not None:
        front["model-index"] = [{
            "name": name,
            "results": [{
                "task": {"type": card.hub_task},
                "dataset": {"name": data["name"], "type": data["name"], "split": provenance["result"]["split"]},
                "metrics": [{"type": name, "value": round(value, 6)} for name, value in metrics.scalars().items()],
            }],
        }]  # fmt: skip
    counts = ", ".join(f"{count} {split}" for split, count in data["images"].items())
    labels = labels if card.lists_classes else ()
    names = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    result = f"{provenance['result']['split']}: {metrics}" if metrics is not None else "not measured"
    origin = "fresh weights" if not provenance["init"] else str(provenance["init"].get("source", "a checkpoint"))
    return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---

# {name}

{card.description} ({architecture}){f" for {len(labels)} classes: {names}" if labels else ""}.

```python
import saccade

print({card.usage})
```

## Result

{result}. Measured on one run with seed {provenance["seed"]}; results of other seeds vary.

## Training

- data: {data["name"]} ({counts})
- start: {origin}; recipe {provenance["recipe"]}, {provenance["steps"]} steps, {provenance["seconds"]} s
- inputs: {preprocessing}

## Limits

{card.limits} It was measured on data from the same source as its training data; on other data it can perform worse. It
has not been evaluated for uses in which errors can harm people.
"""
