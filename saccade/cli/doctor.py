"""`saccade doctor`: check this machine and the installation."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

from cyclopts import Parameter

from saccade.cli.options import Json
from saccade.json_io import dump_json

PACKAGES = (
    "saccade", "torch", "torchvision", "pillow", "numpy", "safetensors", "scikit-learn", "matplotlib", "openvino",
    "onnxruntime",
)  # fmt: skip


def doctor(
    *, clear_cache: Annotated[bool, Parameter(name="--clear-cache", negative="")] = False, as_json: Json = False
) -> int:
    """Print versions, cores and devices, the precision of matrix products, and whether each part works on this machine.

    Parameters
    ----------
    clear_cache
        Delete the stored choices of --fast, and do nothing else.
    """
    if clear_cache:
        from saccade.inference.choices import choices_folder, clear_choices

        print(f"deleted {clear_choices()} choices of --fast in {choices_folder()}")
        return 0
    import torch

    from saccade.nn.matmul_precision import choose_matmul_precision

    facts: dict[str, str] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        "threads of torch": str(torch.get_num_threads()),
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu",
    }
    facts |= {name: _version(name) for name in PACKAGES}
    facts["matmul precision"] = choose_matmul_precision("cpu").reason.removeprefix("float32 matmul precision: ")
    problems = _problems()
    if as_json:
        print(dump_json({"facts": facts, "problems": problems}))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            print(f"{name:<{width}}  {value}")
        print(*(f"problem: {problem}" for problem in problems) if problems else ("all parts work",), sep="\n")
    return 1 if problems else 0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _problems() -> list[str]:
    """Run each part once, on a small input: a list of problems and what to do about them."""
    import torch

    from saccade.models.zoo import create
    from saccade.nn.recording import record

    problems = []
    try:
        import torchvision.transforms.v2  # noqa: F401
    except (ImportError, RuntimeError) as error:
        problems.append(f"torchvision does not fit this torch ({error}); install both from one index")
    model = create("vit_digits").eval()
    images = torch.zeros(2, 1, 8, 8)
    with torch.inference_mode():
        plain = model(images)
        with record(model) as trace:
            recorded = model(images)
    if not torch.equal(plain, recorded) or len(trace.attention) != model.config.depth:
        problems.append("a recorded run differs from a plain one; please report this with the lines above")
    return problems
