"""The model card: a README for whoever finds the model directory without its author."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from saccade.tasks.predictions import ClassificationMetrics


def model_card(
    *,
    name: str,
    architecture: str,
    labels: Sequence[str],
    provenance: Mapping[str, Any],
    preprocessing: str,
    metrics: ClassificationMetrics | None,
) -> str:
    """Markdown with the front matter that model hubs read."""
    data = provenance["data"]
    front: dict[str, Any] = {"library_name": "saccade", "tags": ["image-classification", architecture]}
    if metrics is not None:
        front["model-index"] = [{
            "name": name,
            "results": [{
                "task": {"type": "image-classification"},
                "dataset": {"name": data["name"], "type": data["name"], "split": provenance["result"]["split"]},
                "metrics": [{"type": "accuracy", "value": round(metrics.accuracy, 6)}],
            }],
        }]  # fmt: skip
    counts = ", ".join(f"{count} {split}" for split, count in data["images"].items())
    shown = ", ".join(labels[:20]) + (f" and {len(labels) - 20} more" if len(labels) > 20 else "")
    result = f"{provenance['result']['split']}: {metrics}" if metrics is not None else "not measured"
    origin = "fresh weights" if not provenance["init"] else str(provenance["init"].get("source", "a checkpoint"))
    return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---

# {name}

An image classifier ({architecture}) for {len(labels)} classes: {shown}.

```python
import saccade

print(saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg"))
```

## Result

{result}. One run with seed {provenance["seed"]}; other seeds spread around it.

## Training

- data: {data["name"]} ({counts})
- start: {origin}; recipe {provenance["recipe"]}, {provenance["steps"]} steps, {provenance["seconds"]} s
- images: {preprocessing}

## Limits

It knows these classes and no others: any picture gets one of them. It was measured on images of the same origin as
those that it was trained on; on others it can be worse. Nobody has checked it for uses in which mistakes harm people.
"""
