"""Weights files and model directories: flipped bytes, pickles with code, wild configs, weights that are not finite."""

import io
import json
import os
import pickle
import pickletools
import random
import shutil
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save, save_file

from benchmarks.attack.edits import VALUES, edited_json, flipped
from benchmarks.attack.runner import Row, problem_of
from saccade.checkpoints.convert import convert
from saccade.checkpoints.reading import read_tensors
from saccade.data.image_folder import open_data
from saccade.data.images import read_image
from saccade.engine.predictor import Predictor
from saccade.errors import SaccadeError
from saccade.json_io import dump_json
from saccade.tasks.loading import load

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "runs"
STATE = OrderedDict(
    (f"blocks.{i}.{part}", torch.arange(n, dtype=torch.float32).reshape(shape))
    for i in range(3) for part, n, shape in (("weight", 12, (3, 4)), ("bias", 3, (3,)), ("scale", 1, ()))
)  # fmt: skip


class Layer(torch.nn.Module):
    """A module to store as TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3, 4))
        self.inner = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) @ self.weight.T


def container_files(folder: Path | None = None) -> list[tuple[str, bytes]]:
    """A small valid file of every container, by name."""
    files = {"a.safetensors": save(dict(STATE), {"format": "pt"})}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))]).state_dict()
    nested = {"state_dict": STATE, "epoch": 3, "optimizer": optimizer, "args": {"lr": 1e-3}}
    for name, content, options in (
        ("plain.pth", STATE, {}), ("nested.pth", nested, {}), ("half.bin", {k: v.half() for k, v in STATE.items()}, {}),
        ("old.pth", STATE, {"_use_new_zipfile_serialization": False}),
        ("nested_old.pth", nested, {"_use_new_zipfile_serialization": False}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        torch.save(content, buffer, **options)
        files[name] = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.numpy() for name, tensor in STATE.items()})
    files["a.npz"] = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: tensor.numpy() for name, tensor in STATE.items()})
    files["compressed.npz"] = buffer.getvalue()
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Layer()), buffer)
    files["script.pt"] = buffer.getvalue()
    return list(files.items())


def damaged_container(files: list[tuple[str, bytes]], number: int, rng: random.Random, folder: Path) -> str | None:
    name, content = files[number % len(files)]
    (folder / name).write_bytes(flipped(content, rng))
    return problem_of(lambda: read_tensors(folder / name))


# ------------------------------------------------------------------------------------------------------------- pickles


class Calls:
    """Is pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


def payloads(marker: str) -> list[Any]:
    """Objects whose unpickling would make the folder `marker`."""
    code = f"__import__('os').mkdir({marker!r})"
    return [
        Calls(os.mkdir, marker), Calls(os.makedirs, marker), Calls(os.system, f"mkdir {marker}"), Calls(eval, code),
        Calls(exec, code), Calls(map(os.mkdir, [marker]).__class__, os.mkdir, [marker]), Calls(os.symlink, "/", marker),
        Calls(pickle.loads, pickle.dumps(Calls(os.mkdir, marker))), Calls(shutil.copytree, str(GOLDEN), marker),
        Calls(torch.load, marker), Calls(Path(marker).mkdir), {"state_dict": Calls(os.mkdir, marker), **STATE},
        OrderedDict(STATE, extra=[torch.ones(2), (Calls(os.mkdir, marker),)]),
    ]  # fmt: skip


PLACES = (
    "pickle.pth",
    "zip.pth",
    "old.pth",
    "array.npy",
    "arrays.npz",
    "script.pt",
    "tar.tar",
    "zip.zip",
    "optimizer.pth",
)


def write_pickle(file: Path, payload: Any, protocol: int) -> None:
    """A file of the kind that its name says, with a payload where such files have pickles."""
    if file.name == "pickle.pth":
        content = pickle.dumps(payload, protocol)
        pickletools.genops(content)
        file.write_bytes(content)
    elif file.name in ("zip.pth", "old.pth", "optimizer.pth"):
        content = {"model": STATE, "optimizer": payload} if file.name == "optimizer.pth" else payload
        new = file.name != "old.pth"
        torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    elif file.name == "array.npy":
        np.save(file, np.array([[payload]], dtype=object), allow_pickle=True)
    elif file.name == "arrays.npz":
        np.savez(file, weight=np.ones(3), other=np.array([payload], dtype=object))
    elif file.name == "script.pt":
        torch.jit.save(torch.jit.script(Layer()), file)
        with zipfile.ZipFile(file) as old:
            members = {member.filename: old.read(member) for member in old.infolist()}
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, pickle.dumps(payload, protocol) if name.endswith(".pkl") else content)
    elif file.suffix == ".tar":
        with tarfile.open(file, "w") as archive:
            for name in ("a.pkl", "a.pyd", "a.pth", "a.jpg", "a.cls"):
                member, content = tarfile.TarInfo(name), pickle.dumps(payload, protocol)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        with zipfile.ZipFile(file, "w") as archive:
            for name in ("a/0.jpg", "b/0.npy", "a/data.pkl"):
                archive.writestr(name, pickle.dumps(payload, protocol))


def pickled_code(state: None, number: int, rng: random.Random, folder: Path) -> str | None:
    marker = folder / "marker"
    hostile = payloads(str(marker))
    file = folder / PLACES[number % len(PLACES)]
    write_pickle(file, hostile[number // len(PLACES) % len(hostile)], rng.randint(2, 5))

    def read_samples() -> None:
        for part in open_data(str(file)).parts.values():
            for index in range(len(part)):
                part.image(index)  # type: ignore[attr-defined]

    reasons = [problem_of(run) for run in (lambda: read_tensors(file), lambda: load(file), lambda: read_image(file))]
    reasons += [problem_of(lambda: read_image(file, channels=5)), problem_of(read_samples)]
    return "code of the file ran" if marker.exists() else next((reason for reason in reasons if reason), None)


# --------------------------------------------------------------------------------------------------- model directories


def model_folders(folder: Path) -> list[tuple[Path, Any]]:
    """(a small model's folder, an input that it predicts) of every task, ours and as other projects have them."""
    picture = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    models: list[tuple[Path, Any]] = []
    for golden in sorted(path for path in GOLDEN.iterdir() if (path / "model").is_dir()):
        own = Path(shutil.copytree(golden / "model", folder / golden.name))
        copies = [own]
        for project in ("huggingface", "timm"):
            try:
                convert(own, folder / f"{golden.name}-{project}", project)
                copies.append(folder / f"{golden.name}-{project}")
            except SaccadeError:  # that project does not have the model
                continue
        for copy in copies:
            try:
                predictor = load(copy)
                one = picture if predictor.reads_images else "one two three"
                predictor.predict(one)
            except SaccadeError:  # such as a backbone that predicts nothing
                continue
            models.append((copy, one))
    return models


def used(model: Path, one: Any) -> None:
    """What `saccade predict` does."""
    result = load(model).predict(one)
    json.loads(dump_json(result.to_dict() if hasattr(result, "to_dict") else str(result)))


def wild_config(models: list[tuple[Path, Any]], number: int, rng: random.Random, folder: Path) -> str | None:
    source, one = models[number % len(models)]
    copy = Path(shutil.copytree(source, folder / "model"))
    files = sorted(path for path in copy.glob("*.json"))
    file = rng.choice([*files, copy / "config.json"])
    if rng.random() < 0.15:
        file.write_bytes(json.dumps(rng.choice(VALUES)).encode())
    else:
        file.write_bytes(edited_json(file.read_bytes(), rng))
    return problem_of(lambda: used(copy, one))


def damaged_folder(models: list[tuple[Path, Any]], number: int, rng: random.Random, folder: Path) -> str | None:
    source, one = models[number % len(models)]
    copy = Path(shutil.copytree(source, folder / "model"))
    file = rng.choice(sorted(path for path in copy.iterdir() if path.is_file()))
    file.write_bytes(flipped(file.read_bytes(), rng))
    return problem_of(lambda: used(copy, one))


def not_finite(models: list[tuple[Path, Any]], number: int, rng: random.Random, folder: Path) -> str | None:
    """One value of one tensor; the model refuses it, or predicts numbers."""
    source, one = models[number % len(models)]
    copy = Path(shutil.copytree(source, folder / "model"))
    (copy / "fingerprint.safetensors").unlink(missing_ok=True)
    tensors = load_file(copy / "model.safetensors")
    name = rng.choice([name for name, tensor in tensors.items() if tensor.is_floating_point()])
    tensors[name].view(-1)[rng.randrange(tensors[name].numel())] = rng.choice(
        (float("nan"), float("inf"), -float("inf"))
    )
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    predictions: list[Any] = []

    def predict() -> None:
        predictor: Predictor = load(copy)
        predictions.append(predictor.predict(one))

    reason = problem_of(predict)
    if reason is None and predictions and "NaN" in json.dumps(predictions[0].to_dict()):
        return f"{name}: a prediction of NaN"
    return reason


ROWS = (
    Row("containers", "flipped bytes in .safetensors, .pth old and new, .npz and TorchScript", "tensors or one line "
        "of error", 3300, damaged_container, container_files, batch=1000),
    Row("pickles", "pickles with code: 13 payloads in 9 kinds of file, each through 5 readers", "no code runs; one "
        "line of error", 116, pickled_code, batch=20),
    Row("configs", "wild values in config.json, preprocessor_config.json and tokenizer.json of models of every task",
        "a prediction or one line of error", 485, wild_config, model_folders, batch=50),
    Row("model folders", "flipped bytes in any file of a model folder", "the same", 400, damaged_folder, model_folders,
        batch=50),
    Row("weights", "one weight of a model is NaN or infinite", "refused, or the prediction has numbers", 100,
        not_finite, model_folders, batch=50),
)  # fmt: skip
