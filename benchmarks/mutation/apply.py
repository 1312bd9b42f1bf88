"""A change in a process that has the package loaded: the code of its functions and the values of its modules are
replaced in place."""

import ast
import gc
import importlib
import inspect
import sys
from collections import Counter
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from benchmarks.mutation.changes import ROOT

Functions = dict[str, list[FunctionType]]


def functions_of(files: list[str]) -> Functions:
    """The functions of some files in this process, after they have been imported."""
    for file in files:
        importlib.import_module(module_name(file))
    by_path: Functions = {str(ROOT / file): [] for file in files}
    gc.unfreeze()  # pytest's start hides what it has made
    for value in gc.get_objects():
        if type(value) is FunctionType and value.__code__.co_filename in by_path:
            by_path[value.__code__.co_filename].append(value)
    gc.freeze()
    return by_path


def module_name(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def codes(code: CodeType) -> Iterator[CodeType]:
    for value in code.co_consts:
        if isinstance(value, CodeType):
            yield value
            yield from codes(value)


def by_place(code: CodeType) -> dict[tuple[str, int, int], CodeType]:
    seen: Counter[tuple[str, int]] = Counter()
    places = {}
    for inner in codes(code):
        key = (inner.co_qualname, inner.co_firstlineno)
        places[*key, seen[key]] = inner
        seen[key] += 1
    return places


def apply(file: str, tree: ast.Module, is_import: bool, functions: Functions) -> None:
    """Make the change; ``is_import`` where it is in code that an import runs."""
    path = str(ROOT / file)
    old = by_place(compile((ROOT / file).read_text(encoding="utf-8"), path, "exec", dont_inherit=True))
    changed = compile(tree, path, "exec", dont_inherit=True)
    new = {old[place]: code for place, code in by_place(changed).items() if place in old and old[place] != code}
    for function in functions[path]:
        if function.__code__ in new:
            function.__code__ = new[function.__code__]
    if is_import:
        module = sys.modules[module_name(file)]
        second = ModuleType(module.__name__)
        vars(second).update({key: vars(module)[key] for key in ("__file__", "__package__", "__spec__")})
        exec(changed, vars(second))
        for name, value in vars(second).items():
            if not name.startswith("__"):
                replace_value(module, name, value)


def replace_value(owner: Any, name: str, new: Any) -> None:
    """Give a function or class of a module the new defaults and attributes, and replace a value in every module."""
    old = vars(owner).get(name)
    if callable(old) and isinstance(inspect.unwrap(old), FunctionType) and callable(new):
        function, other = inspect.unwrap(old), inspect.unwrap(new)
        function.__defaults__, function.__kwdefaults__ = other.__defaults__, other.__kwdefaults__
    elif isinstance(old, type) and isinstance(new, type):
        if old.__module__ == new.__module__ == getattr(owner, "__name__", owner.__module__):
            for key, value in list(vars(new).items()):
                if key == "__dataclass_fields__" or key == "__init__" or not key.startswith("__"):
                    replace_value(old, key, value)
    elif not isinstance(new, ModuleType) and repr(old) != repr(new):
        holders = list(sys.modules.values()) if isinstance(owner, ModuleType) else [owner]
        for holder in holders:
            if getattr(holder, "__dict__", {}).get(name, owner) is old:
                setattr(holder, name, new)
