"""Pages of the configuration reference: every key of every task's config, from the dataclasses."""

import ast
import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from docsite.comments import field_comment
from saccade.config_io import SHORT, Range
from saccade.tasks import table
from saccade.training.config import BUILT_IN, RunConfig, list_recipes, read_recipe

KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", dict: "keys and values"}
LARGE = 2**31 - 1  # an upper bound that is the machine's and not the option's


def configuration_pages() -> dict[str, str]:
    """Markdown of every page by its place in the site's sources."""
    tasks = [f"| [{name}]({name}.md) | {table.config_class(name).SUMMARY} |" for name in table.TASKS]
    recipes = [f"| `{name}` | `{read_recipe(name).get('task', RunConfig.task)}` |" for name in list_recipes()]
    index = [
        "# Configuration",
        "A run's `config.yaml` has these keys. `saccade train --set KEY=VALUE` sets any of them by its dotted name, "
        "`--config FILE` a file of them; `--dry-run` prints the resolved config. "
        "[Training](../../training.md) explains recipes and what follows the data. "
        "The defaults here are those of the keys; a recipe sets some of them otherwise.",
        *_sections(RunConfig, ""),
        "## Options of a task",
        "They are written under the name of the task, and may be set without it: `--set label_smoothing=0.1`.",
        "| task | what it predicts |\n| --- | --- |\n" + "\n".join(tasks),
        "## Recipes",
        "| recipe | task |\n| --- | --- |\n" + "\n".join(recipes),
    ]
    pages = {"reference/configuration/index.md": "\n\n".join(index) + "\n"}
    for name in table.TASKS:
        config = table.config_class(name)
        parts = [f"# Options of {name}", _document(config), f"Data: {config.DATA}.", *_sections(config, f"{name}.")]
        recipe = config.default_recipe(None, {})
        parts.append(f"Recipe without `--recipe` on its built-in data: `{recipe}`.")
        pages[f"reference/configuration/{name}.md"] = "\n\n".join(parts) + "\n"
    return pages


def _sections(config: type, prefix: str) -> Iterator[str]:
    """A table of a dataclass's own keys, then its nested dataclasses, each with a heading."""
    comments, hints = _comments(config), get_type_hints(config, include_extras=True)
    rows, nested = [], []
    for field in fields(config):
        kind = hints[field.name]
        inner = nested_config(kind)
        if inner is not None:
            nested.append((field.name, inner))
        elif not (config is RunConfig and field.name == "options"):
            cells = (f"`{prefix}{field.name}`", comments.get(field.name, ""), _values(kind), _default(field))
            rows.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    if rows:
        yield "| key | meaning | values | default |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
    elif not nested:
        yield "It has no options."
    for name, kind in nested:
        data = name in BUILT_IN and prefix == "data."
        yield f"{'###' if data else '##'} {prefix}{name}"
        yield _document(kind)
        yield from _sections(kind, f"{prefix}{name}.")


def nested_config(kind: Any) -> type | None:
    """The dataclass that a field holds, also one that may be null."""
    parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return next((part for part in parts if is_dataclass(part)), None)  # type: ignore[return-value]


def _document(config: type) -> str:
    text = (inspect.getdoc(config) or "").partition("\n\n")[0]
    return re.sub(r"``", "`", " ".join(text.split()))


@cache
def _comments(config: type) -> dict[str, str]:
    """Comments of a dataclass's fields."""
    lines, _ = inspect.getsourcelines(config)
    (node,) = ast.parse("".join(lines)).body
    attributes = _attributes(inspect.getdoc(config) or "")
    result = {}
    for part in ast.iter_child_nodes(node):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            text = field_comment([line.rstrip("\n") for line in lines], part.lineno, part.end_lineno or part.lineno)
            text = text or attributes.get(part.target.id, "")
            result[part.target.id] = re.sub(r"\bNone\b", "null", text)
    return result


def _attributes(text: str) -> dict[str, str]:
    """The Attributes section of a docstring."""
    section = text.partition("Attributes:\n")[2]
    return {m[1]: " ".join(m[2].split()) for m in re.finditer(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)}


def _values(kind: Any) -> str:
    """What a key takes, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits = [_limits(extra) for extra in arguments[1:] if isinstance(extra, Range)]
        return " ".join((_values(arguments[0]), *filter(None, limits)))
    if origin in (Union, types.UnionType):
        inner = [_values(part) for part in arguments if part is not type(None)]
        return " or ".join((*inner, "null") if type(None) in arguments else inner)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"list: {_values(arguments[0])}"
        parts = list(dict.fromkeys(map(_values, arguments)))
        return f"list of {len(arguments)}: {', '.join(parts)}"
    return KINDS.get(origin or kind, "any value")


def _limits(limits: Range) -> str:
    if limits.high is not None and limits.high <= SHORT:
        low, high = "(" if limits.above else "[", ")" if limits.below else "]"
        return f"in {low}{limits.low:g}, {limits.high:g}{high}"
    lower = f"> {limits.low:g}" if limits.above else f"≥ {limits.low:g}"
    return lower if limits.high is None or limits.high >= LARGE else f"{lower}, ≤ {limits.high:g}"


def _default(field: Any) -> str:
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    if value is MISSING:
        return "required"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if value is None or isinstance(value, bool):
        return f"`{'null' if value is None else str(value).lower()}`"
    return f"`{value}`" if value != "" else '`""`'


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
