"""Read a weights file of any project without running code from it.

The format is detected from the content, not from the name. Nothing is unpickled freely: `.pth` files are read by
PyTorch's weights-only reader, TorchScript archives by a reader for tensors only, `.npz` files by NumPy without pickles.
What these reject is an error; there is no less careful second attempt.
"""

import json
import lzma
import math
import pickle
import re
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from saccade.checkpoints.placeholders import safe_globals
from saccade.checkpoints.torchscript import is_torchscript, read_torchscript
from saccade.errors import CheckpointError
from saccade.files import exists, is_dir, is_file, open_regular
from saccade.json_io import read_json_file

MAX_TENSORS = 100_000  # the largest published models have thousands
MAX_NAME_LENGTH = 512
MAX_HEADER = 100 * 2**20  # bytes of a safetensors file, as in its library
DAMAGE = (
    OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError, MemoryError,
    RuntimeError, AssertionError, ImportError, SyntaxError, UnicodeError, struct.error, zipfile.BadZipFile, zlib.error,
    tokenize.TokenError, lzma.LZMAError, pickle.UnpicklingError,
)  # fmt: skip  # raised by the libraries on damaged bytes
MAX_EXPANSION = 200  # weights hardly compress: a file that expands by more is a zip bomb
EXPANSION_ALWAYS_ALLOWED = 256 * 2**20  # bytes

# Keys under which projects save a state dict; averaged weights first, as these are published.
WRAPPERS = (
    "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "params_ema", "ema_params", "ema", "teacher",
    "target_encoder", "state_dict",
    "model_state_dict", "model_state", "model", "module", "net", "network", "weights", "params", "student", "encoder",
)  # fmt: skip
NO_WEIGHTS = re.compile(r"optim|sched|scaler|loss|rng|random", re.IGNORECASE)  # states of training beside the weights
WITHIN = re.compile(r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")

FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)

SINGLE_SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".th", ".ckpt")

Container = Literal["safetensors", "npz", "torch", "torchscript"]


@dataclass
class Tensors:
    """The tensors of a file (or of all its shards) on the CPU, in their stored dtype.

    Attributes:
        tensors: name -> tensor; without the prefixes of DDP, FSDP and `torch.compile`.
        metadata: the strings of a safetensors header; of a file of open_clip's training the name of its run,
            `open_clip`.
        container: the format of the file.
        notes: what was changed while reading, one sentence each.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    container: Container
    notes: list[str] = field(default_factory=list)


def read_tensors(path: str | Path) -> Tensors:
    """Read `.safetensors`, `.npz`, `.pth`/`.pt`/`.bin`, an index of shards, or a folder with one of these.

    Raises CheckpointError if the file is none of them, is damaged, or can only be opened by running code.
    """
    path = Path(path)
    if is_dir(path):
        path = weights_in(path)
    if not exists(path):
        raise CheckpointError(f"There is no file {path}.")
    if path.name.endswith(".index.json"):
        content = _read_shards(path)
    else:
        content = _read_one(path)
    if not content.tensors:
        raise CheckpointError(f"{path} contains no tensors.")
    if len(content.tensors) > MAX_TENSORS:
        raise CheckpointError(f"{path} contains {len(content.tensors)} tensors; the maximum is {MAX_TENSORS}.")
    for name in content.tensors:
        if len(name) > MAX_NAME_LENGTH or not name.isprintable():
            raise CheckpointError(f"{path} has a tensor with an invalid name: {name[:80]!r}.")
    _require_plain(path, content.tensors)
    return content


def _require_plain(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError for a tensor whose values are not all in the file: sparse, quantised, or one value repeated
    over a shape of any size."""
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
            raise CheckpointError(f"{path}: {name} is sparse, quantised or without values, and not read.")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {name} has the shape {list(tensor.shape)}, and fewer values in the file.")


def weights_in(folder: Path) -> Path:
    """The weights file, or the index of shards, of a model folder, or its only weights file under another name."""
    for name in FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    others = [path for path in folder.iterdir() if path.suffix in SINGLE_SUFFIXES]
    if len(others) == 1:
        return others[0]
    raise CheckpointError(f"{folder} contains no weights: one of {', '.join(FOLDER_FILES)} was expected.")


def has_weights(folder: Path) -> bool:
    """Whether :func:`weights_in` finds a file."""
    try:
        return weights_in(folder).is_file()
    except CheckpointError:
        return False


def read_json(path: Path) -> dict:
    """The JSON object in a file; {} if there is no such file."""
    if not is_file(path):
        return {}
    content = read_json_file(path, CheckpointError)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must be a JSON object, not a {type(content).__name__}.")
    return content


def _read_one(path: Path) -> Tensors:
    container = _container_of(path)
    if container == "safetensors":
        return _read_safetensors(path)
    if container == "npz":
        return _read_npz(path)
    if container == "torchscript":
        return _strip_prefixes(
            read_torchscript(path), {}, container, ["read the tensors of a TorchScript archive, not its code"]
        )
    return _read_torch(path)


def _container_of(path: Path) -> Container:
    with open_regular(path, error=CheckpointError) as file:
        head = file.read(9)
    if len(head) == 9 and head[8:9] == b"{":
        return "safetensors"
    if head[:4] == b"PK\x03\x04":
        try:
            with open_regular(path, error=CheckpointError) as file, zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except DAMAGE as error:
            raise CheckpointError(f"{path} is damaged or truncated ({error}).") from None
        _refuse_bomb(path, members)
        if is_torchscript([member.filename for member in members]):
            return "torchscript"
        return "npz" if all(member.filename.endswith(".npy") for member in members) else "torch"
    if head[:1] == b"\x80" or head[:2] == b"\x8a\x0a":  # the pickle protocols of old PyTorch files
        return "torch"
    kind = "empty" if not head else "not a weights file"
    raise CheckpointError(f"{path} is {kind}: .safetensors, .npz, .pth, .pt or .bin content was expected.")


def _refuse_bomb(path: Path, members: list[zipfile.ZipInfo]) -> None:
    expanded = sum(member.file_size for member in members)
    if expanded > max(EXPANSION_ALWAYS_ALLOWED, MAX_EXPANSION * path.stat().st_size):
        raise CheckpointError(
            f"{path} has {path.stat().st_size} bytes and would expand to {expanded}: not read, since weights do not "
            "compress so well."
        )


def _read_safetensors(path: Path) -> Tensors:
    _check_header(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"{path} is not UTF-8, as paths of safetensors files must be: rename it.") from None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, *DAMAGE) as error:
        raise CheckpointError(f"{path} is a damaged safetensors file ({error}).") from None
    return _strip_prefixes(tensors, metadata, "safetensors", [])


def _check_header(path: Path) -> None:
    """Raise CheckpointError for a header of too many tensors, which is not parsed, or with a name that is twice in it:
    of two tensors readers take the last, or the first."""
    with open_regular(path, error=CheckpointError) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER:
            raise CheckpointError(f"{path} is a damaged safetensors file (a header of {size:,} bytes).")
        header = file.read(size)
    count = header.count(b"{")  # one for each tensor, at least
    if count > MAX_TENSORS:
        raise CheckpointError(f"{path} contains about {count} tensors; the maximum is {MAX_TENSORS}.")
    repeated: list[str] = []

    def names_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        repeated.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return dict(pairs)

    try:
        json.loads(header, object_pairs_hook=names_once)
    except (ValueError, RecursionError):
        return  # the library names the damage
    if repeated:
        raise CheckpointError(f"{path} has two entries of the name {repeated[0][:80]!r}: which is meant is unknown.")


def _read_npz(path: Path) -> Tensors:
    tensors = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as file:
                    name = member.filename.removesuffix(".npy")
                    tensors[name] = _tensor(_read_array(path, name, file, member.file_size))
    except DAMAGE as error:
        raise CheckpointError(f"{path} cannot be read as an .npz of numbers ({_first_line(error)}).") from None
    return Tensors(tensors, {}, "npz")


def _read_array(path: Path, name: str, file: IO[bytes], size: int) -> np.ndarray:
    """An array of an `.npz`, its shape compared with the bytes of its member before any memory is reserved."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read_header(file)
    count = math.prod(int(n) for n in shape)
    if dtype.hasobject or any(n < 0 for n in shape) or count * dtype.itemsize > size:
        raise ValueError(f"{name} has the shape {list(shape)} of {dtype}, in {size:,} bytes")
    values = np.frombuffer(bytearray(file.read(count * dtype.itemsize)), dtype, count)
    return values.reshape(shape, order="F" if fortran_order else "C")


def _tensor(array: np.ndarray) -> Tensor:
    array = np.ascontiguousarray(array).reshape(array.shape)
    if array.dtype == np.dtype("V2"):  # NumPy has no bfloat16 and stores it as raw bytes
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _read_torch(path: Path) -> Tensors:
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.serialization.safe_globals(safe_globals()))
            source: Any = path  # of an archive PyTorch reads its parts by offset
            if not zipfile.is_zipfile(path):  # of an old file it reserves as many bytes as a text in it claims to have
                source = stack.enter_context(open_regular(path, error=CheckpointError))
            content = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = str(error).strip() or "UnpicklingError"
        reason = text.split("\n")[-1] if "GLOBAL" not in text else _unsafe_global(text)
        raise CheckpointError(
            f"{path} contains more than weights ({reason}): opening it could run arbitrary code. Use a "
            ".safetensors file, or save its state_dict() in an environment where you trust it."
        ) from None
    except DAMAGE as error:
        raise CheckpointError(f"{path} is damaged or not a PyTorch file ({_first_line(error)}).") from None
    notes: list[str] = []
    trainer = {"open_clip": str(content["name"])} if _is_open_clip(content) else {}
    return _strip_prefixes(_unwrap(path, content, notes), trainer, "torch", notes)


def _is_open_clip(content: object) -> bool:
    """Whether open_clip's training loop wrote the file."""
    return isinstance(content, Mapping) and content.keys() >= {"epoch", "name", "state_dict"}


def _unsafe_global(message: str) -> str:
    """The name of the object that the file refers to, from PyTorch's message."""
    names = message.split("GLOBAL", 1)[1].split()
    return f"it refers to {names[0]}" if names else "it refers to an object"


def _unwrap(path: Path, content: object, notes: list[str]) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        wrapper = next((key for key in WRAPPERS if _has_weights(content.get(key))), None)
        if wrapper is None:
            wrapper = _other_wrapper(path, content)
        if wrapper is None:
            break
        notes.append(f"weights taken from the file's {wrapper!r}")
        content = content[wrapper]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} contains a {type(content).__name__}, not a table of tensors.")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others:
        notes.append(f"skipped values that are not tensors: {', '.join(others[:8])}")
    return tensors


def _other_wrapper(path: Path, content: Mapping) -> object | None:
    """The key of the only table of weights under another name; None where the weights are in the table itself."""
    if any(isinstance(value, Tensor) and value.ndim >= 1 for value in content.values()):
        return None
    tables = [key for key, value in content.items() if _has_weights(value) and not NO_WEIGHTS.search(str(key))]
    if len(tables) > 1:
        raise CheckpointError(
            f"{path} has several tables of weights ({', '.join(map(str, tables[:8]))}), and none under a usual name: "
            "save the one that you mean alone"
        )
    return tables[0] if tables else None


def _has_weights(content: object, depth: int = 4) -> bool:
    """Whether a table holds tensors that are not single numbers, at some level: an average may be empty or a count."""
    if not isinstance(content, Mapping) or not depth:
        return False
    return any(
        value.ndim >= 1 if isinstance(value, Tensor) else _has_weights(value, depth - 1) for value in content.values()
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__


def _strip_prefixes(
    tensors: dict[str, Tensor], metadata: dict[str, str], container: Container, notes: list[str]
) -> Tensors:
    """Without what `torch.compile`, FSDP and DDP put into names, and without the counter of averaged models."""
    named = {WITHIN.sub(r"\1", name): tensor for name, tensor in tensors.items()}
    if named.keys() != tensors.keys() and len(named) == len(tensors):
        notes.append("removed what torch.compile or FSDP put into the names")
    else:
        named = tensors
    counters = [name for name in named if name.rpartition(".")[2] == "n_averaged"]
    named = {name: tensor for name, tensor in named.items() if name not in counters}
    while named and all(name.startswith("module.") for name in named):
        named = {name.removeprefix("module."): tensor for name, tensor in named.items()}
        notes.append("removed the prefix 'module.' from every name")
    return Tensors(named, metadata, container, notes)


def without_prefixes(tensors: dict[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The tensors under the names of the file, then without the parts in front that all names share (`model.`,
    `backbone.`, ...), one after the other."""
    yield tensors
    while tensors:
        first, dot, _ = next(iter(tensors)).partition(".")
        prefix = first + dot
        if not dot or not all(name.startswith(prefix) for name in tensors):
            return
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        yield tensors


def _read_shards(index: Path) -> Tensors:
    table = read_json(index).get("weight_map")
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise CheckpointError(f"{index} has no weight_map of names.")
    shards: dict[str, Tensors] = {}
    for name in sorted(set(table.values())):
        if Path(name).name != name or name in ("", ".", ".."):
            raise CheckpointError(f"{index} names the shard {name!r}, which is outside of its folder: not read.")
        if not is_file(index.parent / name):
            raise CheckpointError(f"{index} names the shard {name}, which is missing.")
        shards[name] = _read_one(index.parent / name)
    tensors = {}
    for name, shard in table.items():
        if name not in shards[shard].tensors:
            raise CheckpointError(f"{index.parent / shard} has no {name}, which its index lists.")
        tensors[name] = shards[shard].tensors[name]
    first = next(iter(shards.values()))
    return Tensors(tensors, first.metadata, first.container, [f"read {len(shards)} shards"])
