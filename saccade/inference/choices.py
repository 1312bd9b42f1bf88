"""Cache of the fastest backend of a model on this machine."""

import hashlib
import json
import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from saccade.checkpoints.atomic import write_atomic
from saccade.errors import DataError
from saccade.files import is_file
from saccade.inference.backends.backend import Backend
from saccade.json_io import dump_json, read_json_file
from saccade.models.model import Model


def choices_folder() -> Path:
    """`~/.cache/saccade/optimize`, or below XDG_CACHE_HOME."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saccade" / "optimize"


def clear_choices() -> int:
    """Remove every choice; returns their number."""
    folder = choices_folder()
    count = len(list(folder.glob("*.json"))) if folder.is_dir() else 0
    shutil.rmtree(folder, ignore_errors=True)
    return count


def choice_key(model: Model, settings: list[object], backends: list[Backend]) -> str:
    """A name that changes with the weights, the architecture, the settings, the processor and the versions."""
    versions = {name: version(name) for backend in backends for name in backend.packages}
    described = [
        type(model).__name__, model.config.to_dict(), settings, [b.name for b in backends], versions, processor(),
        torch.get_num_threads(), torch.__version__,
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().float().numpy()).data)
    return digest.hexdigest()[:32]


def processor() -> str:
    """The processor and what it can compute with."""
    return f"{platform.machine()} {platform.processor()} {torch.backends.cpu.get_cpu_capability()} {os.cpu_count()}"


def stored_choice(key: str) -> str | None:
    """The backend chosen by an earlier process."""
    path = choices_folder() / f"{key}.json"
    if not is_file(path):
        return None
    try:
        content = read_json_file(path)
    except DataError:  # a damaged file is as good as none: the choice is measured again
        return None
    return content.get("backend") if isinstance(content, dict) else None


def store_choice(key: str, backend: str, report: str) -> None:
    """Store a choice; does nothing if the folder cannot be written."""
    folder = choices_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / f"{key}.json", dump_json({"backend": backend, "report": report}).encode())
    except OSError:
        return
