"""Every model with its cost, and every format with its largest difference from official code; writes docs/models.md
and saccade/models/costs.csv, the table that `saccade models` prints.

    python benchmarks/models_table.py
    python benchmarks/models_table.py --costs     # the costs alone, in both files

Differences are those of `tests/parity/cases.py`, measured anew: random weights in the official model, saved by it,
loaded here, the same images through both; the largest difference of an output over the output's scale.
"""

import csv
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from machine import describe
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import saccade  # noqa: E402
from saccade.checkpoints.convert import WRITERS  # noqa: E402
from saccade.checkpoints.formats import FORMATS  # noqa: E402
from saccade.checkpoints.loading import load_model  # noqa: E402
from saccade.checkpoints.published import PUBLISHED  # noqa: E402
from saccade.models.catalogue import ARCHITECTURES, ZOO  # noqa: E402
from saccade.models.cost import measure_cost  # noqa: E402
from saccade.models.cost_table import read_costs  # noqa: E402
from saccade.models.zoo import architecture_of  # noqa: E402
from saccade.tasks.table import task_of_model  # noqa: E402
from tests.parity.cases import CASES  # noqa: E402

# compared in tests/parity/test_detr.py and test_clip.py
STORED = "official outputs, if available"
OWN = "separate tests"  # for models that are not called with images alone
ELSEWHERE = {
    "facebook_detr": STORED, "openai_clip": "open_clip and stored outputs", "huggingface_clip": OWN,
    "huggingface_bert": OWN, "huggingface_marian": OWN, "huggingface_perceiver_text": OWN,
    "facebook_convnext": OWN, "facebook_dinov3": OWN, "huggingface_dinov3": OWN, "huggingface_dinov3_convnext": OWN,
    "timm_dinov3": OWN, "depthanything": OWN, "huggingface_depth_anything": OWN,
    "huggingface_siglip": OWN, "open_clip_siglip": OWN,
}  # fmt: skip
CONFORMANCE = ROOT / "tests" / "conformance"


def write_costs() -> None:
    """Measure every model and write the table of the package."""
    rows: list[tuple[object, ...]] = [("name", "params", "macs", "height", "width", "tokens")]
    for name in ZOO:
        with torch.device("meta"):
            net = saccade.create(name)
        cost, size = measure_cost(net), net.config.image_size
        shape = ("", "", net.config.context_length) if size is None else (*size, "")
        rows.append((name, cost.params, cost.macs, *shape))
    with open(ROOT / "saccade" / "models" / "costs.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def models() -> list[str]:
    """The rows of the table of models, from the table of the package."""
    heads = ("model", "task", "input", "parameters", "GMAC", "published weights", "licence")
    rows = [f"| {' | '.join(heads)} |", "| --- | --- | --- | ---: | ---: | --- | --- |"]
    for name, cost in read_costs().items():
        size = f"{cost.tokens} tokens" if cost.image_size is None else f"{cost.image_size[0]} × {cost.image_size[1]}"
        gmacs = f"{cost.gmacs:.3f}" if cost.gmacs >= 0.001 else f"{cost.gmacs:.6f}"
        published = PUBLISHED.get(name)
        weights, licence = (f"`{published.source}`", published.licence) if published else ("", "")
        task = task_of_model(name, architecture_of(name))
        rows.append(f"| `{name}` | {task} | {size} | {cost.params:,} | {gmacs} | {weights} | {licence} |")
    return rows


def differences() -> dict[str, float]:
    """format -> the largest difference over its cases."""
    differences: dict[str, float] = defaultdict(float)
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            differences[case.format] = max(differences[case.format], case.difference(Path(folder)))
        print(f"{case.format}: {case.name}: {differences[case.format]:.1e}", file=sys.stderr, flush=True)
    for name in ("google_vit", "google_vit_pre_logits"):
        stored = np.load(CONFORMANCE / f"{name}.io.npz")
        images = torch.from_numpy(stored["images_nhwc"]).permute(0, 3, 1, 2)
        theirs = torch.from_numpy(stored["logits"])
        ours = saccade.load(CONFORMANCE / f"{name}.npz").run(images)
        difference = ((ours - theirs).abs().max() / theirs.abs().max()).item()
        differences["google_vit"] = max(differences["google_vit"], difference)
    stored = load_file(CONFORMANCE / "isl_dpt_depth.io.safetensors")
    with torch.no_grad():
        ours = load_model(CONFORMANCE / "isl_dpt_depth.pth").model(stored["images"]).values
    differences["isl_dpt"] = ((ours - stored["output"]).abs().max() / stored["output"].abs().max()).item()
    return differences


def formats() -> list[str]:
    largest = differences()
    rows = ["| architecture | opens | largest difference | `saccade convert --to` |", "| --- | --- | --- | --- |"]
    for architecture in ARCHITECTURES:
        own = [(f.NAME, f.__name__.rsplit(".", 1)[1]) for f in FORMATS if architecture == f.ARCHITECTURE]
        targets = [target for target, writers in WRITERS.items() if architecture in writers]
        for number, (name, module) in enumerate(own or [("", "")]):
            difference = ELSEWHERE.get(module, "read by timm too") if name else ""
            if module in largest:
                difference = f"{largest[module]:.1e}" if largest[module] else "none: equal to the bit"
            first = number == 0
            cells = (architecture if first else "", name, difference, ", ".join(targets) if first else "")
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    write_costs()
    page = ROOT / "docs" / "models.md"
    if "--costs" in sys.argv:
        table = re.compile(r"^\| model \|.*?(?=\n\n)", re.DOTALL | re.MULTILINE)
        text = page.read_text(encoding="utf-8")
        page.write_text(table.sub(lambda _: "\n".join(models()), text, count=1), encoding="utf-8")
        return
    text = f"""# Models

Made by `python benchmarks/models_table.py`; {describe()}.

Parameters, and multiply-adds of every product and convolution for one image, measured in the model. Published tables
that also count norms (timm's) are reproduced in `tests/models/test_families.py` to their last digit, but for one
hybrid, which is 0.03 % off. `saccade models` prints this table. Published weights are one checkpoint of that very size
for each model, with the licence that its publisher states.

{chr(10).join(models())}

## Published formats

What opens (by the tensors' names), and the largest difference from the official code on the same weights, over the
output's scale (float32, CPU; random weights, small and published sizes, images that are not square where the
architecture allows them). Google's hybrids and BiT have no official code in a package: a small official hybrid is
compared in the tests if its file is available, and files in Google's layouts are read by timm's reader as well as by
ours, with equal outputs.

{chr(10).join(formats())}

Every model is also a [model directory](checkpoints.md), so `--to saccade` takes any of them.
"""
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
