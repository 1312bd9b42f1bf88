"""The tensors of a TorchScript archive, such as OpenAI's CLIP, without its code.

Such an archive contains a program and its objects. Only the objects are read, by an unpickler that accepts tensors and
plain values: a module of the program becomes a container of its attributes.
"""

import collections
import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saccade.errors import CheckpointError

STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip

DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError,
    AttributeError, OverflowError, MemoryError, ImportError,
)  # fmt: skip


def is_torchscript(names: list[str]) -> bool:
    """Whether the members of a zip file are those of a TorchScript archive."""
    return any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Every tensor by the path of its attribute, such as ``visual.conv1.weight``.

    Raises:
        CheckpointError: the archive is damaged, or contains objects other than tensors and plain values.
    """
    tensors: dict[str, Tensor] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            pickle_name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            _collect(_Reader(archive, pickle_name).load(), "", tensors, set())
    except StopIteration:
        raise CheckpointError(f"{path} is a TorchScript archive without data.") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except DAMAGE as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is a damaged TorchScript archive ({first}).") from None
    return tensors


class _Attributes:
    """Placeholder of any object of the program."""

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, pickle_name: str):
        super().__init__(io.BytesIO(archive.read(pickle_name)))
        self.archive, self.root = archive, pickle_name.rsplit("/", 1)[0]

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Attributes
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        allowed = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"the archive calls {module}.{name}: not read, since only tensors are")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        if not isinstance(dtype, torch.dtype) or type(count) is not int or count < 0:
            raise ValueError(f"a storage of {count!r} values of {dtype!r}")
        data = bytearray(self.archive.read(f"{self.root}/data/{int(key)}"))
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    count = math.prod(size)
    if any(n < 0 for n in size) or count > storage.numel():
        raise ValueError(f"a tensor of the shape {list(size)} in a storage of {storage.numel()} values")
    return storage.as_strided(size, stride, offset).clone()


def _collect(value: object, name: str, tensors: dict[str, Tensor], visited: set[int]) -> None:
    if isinstance(value, Tensor):
        tensors[name] = value
    elif (
        isinstance(value, _Attributes)
        and isinstance(getattr(value, "state", None), Mapping)
        and id(value) not in visited
    ):
        visited.add(id(value))
        for key, attribute in value.state.items():  # type: ignore[attr-defined]
            _collect(attribute, f"{name}.{key}" if name else str(key), tensors, visited)
