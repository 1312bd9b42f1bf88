"""The model card: a README for whoever finds the model directory without its author."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

# task of a model directory -> the hub's name for it, what the model is, how it is used, where it ends
WORDS = {
    "classification": (
        "image-classification",
        "An image classifier",
        'saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg")',
        "It knows these classes and no others: any picture gets one of them.",
    ),
    "depth": (
        "depth-estimation",
        "A depth estimator",
        'saccade.load("PATH_OF_THIS_FOLDER").dense("image.jpg")',
        "It knows distances such as it has seen.",
    ),
    "segmentation": (
        "image-segmentation",
        "A segmenter",
        'saccade.load("PATH_OF_THIS_FOLDER").dense("image.jpg")',
        "It knows these classes and no others: every pixel gets one of them.",
    ),
    "detection": (
        "object-detection",
        "A detector",
        'saccade.load("PATH_OF_THIS_FOLDER").predict("image.jpg")',
        "It finds these classes and no others.",
    ),
    "contrast": (
        "zero-shot-image-classification",
        "A model of images and texts",
        'saccade.load("PATH_OF_THIS_FOLDER").model.encode_image',
        "It knows pictures and words such as it has seen; classes are told to it with "
        "`saccade zeroshot PATH_OF_THIS_FOLDER IMAGE --labels cat,dog`.",
    ),
    "translation": (
        "translation",
        "A model that writes",
        'saccade.load("PATH_OF_THIS_FOLDER").labels',
        "It knows words such as it has seen: `saccade translate PATH_OF_THIS_FOLDER TEXT` (or an image, if it looks).",
    ),
    "words": (
        "fill-mask",
        "A model that names hidden words",
        'saccade.load("PATH_OF_THIS_FOLDER").model.num_features',
        'It knows words such as it has seen: `saccade fill PATH_OF_THIS_FOLDER "some [MASK] words"`.',
    ),
    "pretraining": (
        "image-feature-extraction",
        "An encoder of images, trained without labels by hiding patches",
        'saccade.load("PATH_OF_THIS_FOLDER").model.num_features',
        "It answers no question yet: fine-tune it with `saccade train DATA --init PATH_OF_THIS_FOLDER`.",
    ),
}


def model_card(
    *,
    name: str,
    architecture: str,
    labels: Sequence[str],
    provenance: Mapping[str, Any],
    preprocessing: str,
    metrics: Any,
    task: str = "classification",
) -> str:
    """Markdown with the front matter that model hubs read; `metrics` are the task's, or None."""
    kind, what, usage, limits = WORDS[task]
    data = provenance["data"]
    front: dict[str, Any] = {"library_name": "saccade", "tags": [kind, architecture]}
    if metrics is not None:
        front["model-index"] = [{
            "name": name,
            "results": [{
                "task": {"type": kind},
                "dataset": {"name": data["name"], "type": data["name"], "split": provenance["result"]["split"]},
                "metrics": [{"type": name, "value": round(value, 6)} for name, value in metrics.row().items()],
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

{what} ({architecture}){f" for {len(labels)} classes: {shown}" if labels else ""}.

```python
import saccade

print({usage})
```

## Result

{result}. One run with seed {provenance["seed"]}; other seeds spread around it.

## Training

- data: {data["name"]} ({counts})
- start: {origin}; recipe {provenance["recipe"]}, {provenance["steps"]} steps, {provenance["seconds"]} s
- inputs: {preprocessing}

## Limits

{limits} It was measured on images of the same origin as those that it was trained on; on others it can be worse. Nobody
has checked it for uses in which mistakes harm people.
"""
