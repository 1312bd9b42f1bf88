"""The measures of the code's structure: python benchmarks/house.py

- decisions by task outside `saccade/tasks` (comparisons with a task's name), and lists of task names
- folders in which a task has files
- participles among the names that are bound (`found`, `told`, `kept`, …), and how often `found` is
- the longest files
"""

import ast
from collections import Counter
from pathlib import Path

from saccade.tasks.table import TASKS

PACKAGE = Path(__file__).parents[1] / "saccade"
PARTICIPLES = {
    "asked", "began", "chosen", "found", "given", "goes", "kept", "known", "left", "made", "meant", "named", "needed",
    "said", "seen", "shown", "taken", "told", "wanted", "written",
}  # fmt: skip


def names_bound(tree: ast.AST) -> list[str]:
    """Every name that is assigned, a parameter, a function or a class."""
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    names += [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    return names + [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)]


def decisions(tree: ast.AST) -> int:
    """Comparisons of something called `task` with a text."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
            by_task = any(isinstance(part, ast.Attribute) and part.attr == "task" for part in parts)
            count += by_task and any(isinstance(getattr(part, "value", None), str) for part in parts)
    return count


def lists_of_tasks(tree: ast.AST) -> int:
    """Literals that name two tasks or more."""
    count = 0
    for node in ast.walk(tree):
        entries = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
        texts = {entry.value for entry in entries if isinstance(entry, ast.Constant)}
        count += len(texts & set(TASKS)) >= 2
    return count


def main() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    first = {path: path.relative_to(PACKAGE).parts[0] for path in files}
    outside = {p: t for p, t in trees.items() if first[p] not in ("tasks", "upgrade.py")}
    own_words = ("models", "data", "checkpoints")  # where "depth" is a field and "seq2seq" an architecture
    listing = {p: lists_of_tasks(t) for p, t in trees.items() if first[p] not in (*own_words, "upgrade.py")}
    names = Counter(name for tree in trees.values() for name in names_bound(tree))
    participles = Counter({name: count for name, count in names.items() if name in PARTICIPLES})
    total = names.total()
    print(f"files: {len(files)}, lines: {sum(len(p.read_text().splitlines()) for p in files)}")
    print(f"decisions by task outside saccade/tasks: {sum(map(decisions, outside.values()))}")
    print(f"lists of task names: {sum(listing.values())} ({', '.join(p.name for p, n in listing.items() if n)})")
    print(f"participles among {total} bound names: {participles.total()} ({participles.total() / total:.2%})")
    print("  " + ", ".join(f"{name} {count}" for name, count in participles.most_common(8)))
    longest = sorted(files, key=lambda path: -len(path.read_text().splitlines()))[:3]
    print("longest: " + ", ".join(f"{p.relative_to(PACKAGE)} {len(p.read_text().splitlines())}" for p in longest))


if __name__ == "__main__":
    main()
