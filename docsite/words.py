"""Words that the project's texts do without: python -m docsite.words

Pages, the help of commands, messages of errors, docstrings and templates of reports are plain technical English:
machines print, return and require; they do not say, ask, tell, think or know. `tests/site/test_words.py` keeps the
list.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator

from docsite.commands import command_pages
from docsite.links import ROOT, outside_code

# Pattern -> what to write.
BANNED = {
    r"\b(says?|said)\b": "states, prints, shows",
    r"\b(asks?|asked)\b": "requires, requests",
    r"\b(tells?|told)\b": "prints, describes, distinguishes",
    r"\b(thinks?|thought)\b": "predicts",
    r"\bknows\b|\bnot know\b|\bknow (a|an|no|nothing)\b": "has, depends on",
    r"\bmend(s|ed|ing)?\b": "corrects, repairs",
    r"\b(go|goes|going|went) on\b": "continues",
    r"\bspeaks? (of|for)\b": "describes, supports",
    r"\b(nobody|somebody|everybody)\b": "the passive, or who it is",
    r"\bso many\b": "that many, the number of",
    r"\bfor ever\b": "forever",
    r"\bbeside\b": "next to, with, in the same folder as",
    r"\b(lies|lie|lying) (in|on|at|over|between|outside|within|there)\b": "is, are",
    r"\bstands? (behind|in|on|below|above|there|at|between)\b": "is, are",
    r"\b(simply|obviously|of course)\b": "nothing",
    r"\b(in order to|make use of|due to the fact)\b": "to, use, because",
    r"\b(lecture's own words|riddle)\b": "the term",
    r"\bunless given\b": "by default",
    r"\bof one's own\b": "your own",
    r"\bnext to nothing\b": "almost nothing",
    r"\bthe very (q|queries|weights|same)\b": "the same",
    r"\b(drawn|starts?|measures?|written) anew\b": "again, randomised",
    r"\bthe zoo\b": "the catalogue",
    r"\bby the clock\b": "in wall-clock time",
    r"\bat hand\b": "available, in use",
    r"\bwhole or not at all\b": "atomically",
    r"\b(of a text|of it|an image) at most\b": "maximum number of",
    r"\b(where|how far) (the|a|each|every) (model|head|query|network) look(s|ed)\b": "attention map or distance",
    r"\bafter a way through\b": "after a round trip through",
}
QUOTED = re.compile(r"`[^`]*`|\"[^\"\n]*\"|“[^”]*”|\]\([^)]*\)|<[^>]*>|\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
STYLE = re.compile(r"<(style|script)\b.*?</\1>", re.DOTALL)


def texts() -> Iterator[tuple[str, str]]:
    """(place, text) of everything that people read, without code."""
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
        parts = outside_code(page.read_text(encoding="utf-8"))
        prose = "".join("\n" * part.count("\n") if code else part for part, code in parts)
        yield str(page.relative_to(ROOT)), prose
    for place, text in command_pages().items():
        yield place.replace("reference/commands/", "help: ").removesuffix(".md"), text
    for path in sorted((ROOT / "saccade").rglob("*.html")):
        yield str(path.relative_to(ROOT)), STYLE.sub("", path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "saccade").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(ROOT)}, docstring of {getattr(node, 'name', 'the module')}"
                yield where, ast.get_docstring(node) or ""
            elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", message(node.exc)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ModelCard":
                yield f"{path.relative_to(ROOT)}:{node.lineno}", message(node)


def message(call: ast.Call) -> str:
    """The fixed part of an error's text; values in it are marked by a dash."""
    parts = []
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        values = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
        for value in values:
            fixed = isinstance(value, ast.Constant) and isinstance(value.value, str)
            parts.append(value.value if fixed else "–")  # type: ignore[attr-defined]
    return "".join(map(str, parts))


def banned(text: str) -> list[tuple[int, str, str]]:
    """(line, word, what to write) of every banned word of a text; what is quoted or code is left out."""
    plain = QUOTED.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    hits = [
        (plain.count("\n", 0, match.start()) + 1, match[0], instead)
        for pattern, instead in BANNED.items()
        for match in re.finditer(pattern, plain, re.IGNORECASE)
    ]
    return sorted(hits)


def problems(parts: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each banned word of some texts, (place, text) each."""
    return [f"{place}, line {line}: {word} ({new})" for place, text in parts for line, word, new in banned(text)]


if __name__ == "__main__":
    lines = problems(texts())
    print("\n".join(lines) or "no banned words")
    sys.exit(bool(lines))
