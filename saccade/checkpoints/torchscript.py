"""The tensors of a TorchScript archive, as OpenAI published CLIP, without its code.

Such an archive holds a program and the objects that it works on. Only the objects are read, by an unpickler that knows
tensors, plain values and nothing else: a module of the program becomes a bag of its attributes.
"""

import collections
import io
import pickle
import zipfile
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


def is_torchscript(names: list[str]) -> bool:
    """Whether the members of a zip file are those of an archive with a program."""
    return any(name.endswith("/constants.pkl") for name in names) and any("/code/" in name for name in names)


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Every tensor by the path of its attribute, such as ``visual.conv1.weight``.

    Raises:
        CheckpointError: the archive is damaged, or holds something that only its program could open.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            found = _Reader(archive, pickled).load()
    except StopIteration:
        raise CheckpointError(f"{path} is a TorchScript archive without data.") from None
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: {error}") from None
    except (zipfile.BadZipFile, OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is a damaged TorchScript archive ({error}).") from None
    tensors: dict[str, Tensor] = {}
    _gather(found, "", tensors, set())
    return tensors


class _Bag:
    """What stands for any object of the program."""

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, pickled: str):
        super().__init__(io.BytesIO(archive.read(pickled)))
        self.archive, self.root = archive, pickled.rsplit("/", 1)[0]

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Bag
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch.jit._pickle", "build_intlist"): list,
            ("torch.jit._pickle", "build_tensorlist"): list,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"the archive calls {module}.{name}: refused, only tensors are read")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        data = bytearray(self.archive.read(f"{self.root}/data/{int(key)}"))
        return torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    return storage.as_strided(size, stride, offset).clone()


def _gather(thing: object, name: str, tensors: dict[str, Tensor], seen: set[int]) -> None:
    if isinstance(thing, Tensor):
        tensors[name] = thing
    elif isinstance(thing, _Bag) and isinstance(getattr(thing, "state", None), Mapping) and id(thing) not in seen:
        seen.add(id(thing))
        for key, value in thing.state.items():  # type: ignore[attr-defined]
            _gather(value, f"{name}.{key}" if name else str(key), tensors, seen)
