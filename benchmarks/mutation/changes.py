"""The small changes of a file, one at a time: operators, constants, conditions and the names of reductions."""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In the order of a run: first what would bend a result without an error, last what reads files.
FILES = (
    "tasks/*/metrics.py", "tasks/*/*_metrics.py", "tasks/*/*loss*.py", "tasks/detection/matcher.py",
    "tasks/dense/alignment.py", "tasks/*/task.py", "tasks/detection/detr.py", "tasks/detection/fcos.py",
    "tasks/detection/box*.py", "tasks/detection/panoptic.py", "tasks/detection/queries.py", "training/step.py",
    "training/resume.py", "tasks/detection/mask*.py", "tasks/detection/segmentations.py", "tasks/dense/depth.py",
    "tasks/dense/segmentation.py", "tasks/*/batches.py", "data/splits.py", "data/seeding.py", "data/rle.py",
    "data/preprocessing.py", "data/pixels.py", "data/images.py", "data/batch_augmentation.py", "data/batching.py",
    "data/randaugment.py", "data/augmentation.py", "tasks/*/*.py", "tasks/detection/layouts/*.py", "data/*.py",
)  # fmt: skip
NOT_TESTED = ("report.py", "config.py", "drawing.py")  # of looks, and of defaults that a test would repeat

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Add: ast.Sub, ast.Sub: ast.Add,
    ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.And: ast.Or,
    ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "all": "any", "any": "all", "floor": "ceil", "sum": "mean", "argmax": "argmin"}

# Changes that no result shows: the wording of errors and warnings, sizes of caches, guards against lists of unequal
# lengths, copies that are not needed.
WORDING_CALLS = ("warn", "warning", "info", "debug", "error")
NO_RESULT_CALLS = ("lru_cache",)
NO_RESULT_KEYWORDS = ("strict", "stacklevel", "non_blocking", "maxsize", "frozen", "slots", "copy", "indent")
NO_RESULT_FUNCTIONS = ("__repr__", "__str__")


@dataclass(frozen=True)
class Place:
    """Where a node stands: the lines that are executed with it, and its function ("" for code that an import runs)."""

    first: int = 0
    last: int = 0
    function: str = ""
    is_signature: bool = False


@dataclass(frozen=True)
class Change:
    """A change: the ``number``-th of its file, or the one that gives it another source."""

    file: str
    number: int
    place: Place
    text: str
    source: str = ""

    def tree(self) -> ast.Module:
        if self.source:
            return ast.parse(self.source)
        tree = ast.parse((ROOT / self.file).read_text(encoding="utf-8"))
        list(changes(tree))[self.number][2]()
        return ast.fix_missing_locations(tree)


def name_of(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def is_without_result(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise):
        return True
    if isinstance(node, ast.Call):
        return name_of(node.func) in (*WORDING_CALLS, *NO_RESULT_CALLS)
    if isinstance(node, ast.keyword):
        return node.arg in NO_RESULT_KEYWORDS
    if isinstance(node, ast.Assign):
        return any(name_of(target) == "__all__" for target in node.targets)
    return isinstance(node, ast.FunctionDef) and node.name in NO_RESULT_FUNCTIONS


def walk(node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    """Every node whose change could show in a result, with its place."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or is_without_result(child):
                continue
            inner = place
            if isinstance(node, ast.FunctionDef | ast.Lambda) and field == "body":
                name = getattr(node, "name", "lambda")
                inner = replace(inner, function=f"{place.function}.{name}".strip("."), is_signature=False)
            if isinstance(child, ast.stmt):
                body = getattr(child, "body", None)
                last = body[0].lineno - 1 if body else child.end_lineno or child.lineno
                inner = replace(inner, first=child.lineno, last=max(last, child.lineno))
                if isinstance(child, ast.FunctionDef) and not inner.function:
                    # The import runs a signature; what it changes is seen in the function.
                    inner = replace(inner, last=child.end_lineno or last, is_signature=True)
            yield child, inner
            yield from walk(child, inner)


def changes(tree: ast.Module) -> Iterator[tuple[Place, str, Callable[[], None]]]:
    """(place, what, a function that makes the change in the tree) for every change of a file."""
    for node, place in walk(tree, Place()):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            new = SWAPS[type(node.ops[0])]
            yield place, f"{ast.unparse(node)}: {new.__name__}", lambda n=node, v=new: n.ops.__setitem__(0, v())
        elif isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
            new = SWAPS[type(node.op)]
            yield place, f"{ast.unparse(node)}: {new.__name__}", lambda n=node, v=new: setattr(n, "op", v())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield (
                place,
                f"{ast.unparse(node)}: without not",
                lambda n=node: setattr(n, "operand", ast.UnaryOp(ast.Not(), n.operand)),
            )
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
            new = not node.value if isinstance(node.value, bool) else node.value + 1
            yield place, f"{node.value} -> {new}", lambda n=node, v=new: setattr(n, "value", v)
        elif isinstance(node, ast.Name | ast.Attribute):
            key = "id" if isinstance(node, ast.Name) else "attr"
            if (name := getattr(node, key)) in NAMES:
                yield place, f"{name} -> {NAMES[name]}", lambda n=node, k=key, v=name: setattr(n, k, NAMES[v])


@cache
def changes_of(file: str) -> tuple[Change, ...]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return tuple(Change(file, number, place, text) for number, (place, text, _) in enumerate(changes(tree)))


def files() -> list[str]:
    """The files in the order of FILES, each once."""
    paths = (path for pattern in FILES for path in sorted((ROOT / "saccade").glob(pattern)))
    return list(dict.fromkeys(path.relative_to(ROOT).as_posix() for path in paths if path.name not in NOT_TESTED))
