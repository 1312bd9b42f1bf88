"""Objects other than weights in the files of training scripts: they are read as empty placeholders, so that none of
their code runs. Any object outside this list is an error."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Self

NUMPY = (
    "core.multiarray.scalar", "core.multiarray._reconstruct", "_core.multiarray.scalar",
    "_core.multiarray._reconstruct", "_core.numeric._frombuffer", "core.numeric._frombuffer", "ndarray", "dtype",
    "random._pickle.__randomstate_ctor", "random._pickle.__generator_ctor", "random._pickle.__bit_generator_ctor",
    "random._mt19937.MT19937", "random._pcg64.PCG64",
    *(f"dtypes.{kind}DType" for kind in (
        "Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16", "Float32",
        "Float64", "Str", "Bytes",
    )),
    *("bool_", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64"),
)  # fmt: skip
PATHS = ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
OTHERS = (
    "_codecs.encode", "argparse.Namespace", "datetime.datetime", "datetime.timedelta",
    "datetime.date", "datetime.timezone", "decimal.Decimal", "types.SimpleNamespace", "uuid.UUID", "typing.Any",
    "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode",
    *(f"{module}.{kind}" for module in ("builtins", "__builtin__") for kind in (
        "bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "slice", "str", "tuple",
    )),
)  # fmt: skip
DICTIONARIES = (
    "collections.defaultdict", "lightning_fabric.utilities.data.AttributeDict", "addict.addict.Dict",
    "lightning.fabric.utilities.data.AttributeDict", "pytorch_lightning.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode", "easydict.EasyDict", "ml_collections.config_dict.config_dict.ConfigDict",
)  # fmt: skip


class Placeholder:
    """Placeholder of an object in the list: accepts every argument and state, and stores none."""

    def __new__(cls, *arguments: Any) -> Self:
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class PlainDict(OrderedDict):
    """Placeholder of the dictionaries of other libraries."""

    def __new__(cls, *arguments: Any) -> Any:  # an OrderedDict itself, which alone the weights-only reader fills
        return OrderedDict()


class PlainList(list):
    """Placeholder of other sequences that are filled item by item."""

    def __new__(cls, *arguments: Any) -> Any:
        return []


def safe_globals() -> list[Callable | tuple[Callable, str]]:
    """For `torch.serialization.safe_globals`: the placeholder of each name."""
    names = [*(f"numpy.{name}" for name in NUMPY), *(f"pathlib.{name}" for name in PATHS), *OTHERS]
    names += [f"pathlib._local.{name}" for name in PATHS]
    pairs = [(PlainList, "collections.deque"), *((PlainDict, name) for name in DICTIONARIES)]
    return [*pairs, *((Placeholder, name) for name in names)]
