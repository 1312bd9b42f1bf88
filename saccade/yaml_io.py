"""Reading of untrusted YAML: only plain values, of a number bounded by the length of the text.

Loads no torch.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from saccade.errors import ConfigError, SaccadeError
from saccade.files import read_text

MAX_BYTES = 4 * 2**20  # the names of 20,000 classes take a tenth of it
MAX_VALUES = 1_000_000  # after every alias is replaced by what it stands for


def parse_yaml(text: str, name: object, error: type[SaccadeError] = ConfigError, *, unique: bool = True) -> Any:
    """The plain value of a YAML text; tags of other objects are errors.

    Args:
        text: a single document.
        name: name of the file, for errors.
        error: the class of errors to raise.
        unique: raise an error for a repeated key in a mapping, whose first value would be lost.

    Raises:
        SaccadeError: of the class `error`, in one line: not YAML, nested too deeply, or aliases that expand to more
            than a million values or to themselves.
    """
    if len(text) > MAX_BYTES:
        raise error(f"{name} has {len(text):,} characters: YAML of more than {MAX_BYTES // 2**20} MiB is not read")
    loader = None
    try:
        loader = yaml.SafeLoader(text)  # which looks at the first characters
        node = loader.get_single_node()
        if node is None:
            return None
        sizes: dict[int, int] = {}
        if _values(node, sizes) > MAX_VALUES:
            raise error(f"{name} is not readable YAML: its aliases expand to more than {MAX_VALUES:,} values")
        if unique:
            _require_unique_keys(node, set())
        return loader.construct_document(node)
    except RecursionError:
        raise error(f"{name} is not readable YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, MemoryError, AttributeError, LookupError) as problem:
        # A date that there is not is a ValueError, a list as a key of a set a TypeError.
        raise error(f"{name} is not readable YAML: {' '.join(str(problem).split())}") from None
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml_file(path: Path, error: type[SaccadeError] = ConfigError, *, unique: bool = True) -> Any:
    """The plain value in a YAML file; errors as for :func:`parse_yaml`, also for a file that cannot be read."""
    return parse_yaml(read_text(path, error, kind="YAML file", max_bytes=MAX_BYTES), path, error, unique=unique)


def _values(node: yaml.Node, sizes: dict[int, int]) -> int:
    """The number of values below a node with every alias replaced, as seen by a program that walks through them."""
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("an alias refers to a value that contains it")
        return sizes[id(node)]
    sizes[id(node)] = 0  # while its own parts are counted
    count = 1
    if isinstance(node, yaml.SequenceNode):
        count += sum(_values(item, sizes) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        count += sum(_values(key, sizes) + _values(value, sizes) for key, value in node.value)
    sizes[id(node)] = count
    return count


def _require_unique_keys(node: yaml.Node, visited: set[int]) -> None:
    if id(node) in visited or isinstance(node, yaml.ScalarNode):
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        counts = Counter((key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        twice = [name for (_, name), count in counts.items() if count > 1 and name != "<<"]
        if twice:
            raise ValueError(
                f"the key {twice[0]!r} is repeated in the mapping that begins in line {node.start_mark.line + 1}"
            )
    children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
    for child in children:
        _require_unique_keys(child, visited)
