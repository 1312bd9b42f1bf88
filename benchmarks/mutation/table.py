"""The outcomes of a run: counts of each file and the list of survivors, as JSON and in docs/reliability.md."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.mutation.changes import ROOT, changes_of, files

RESULTS, PAGE = ROOT / "benchmarks" / "results" / "mutation.json", ROOT / "docs" / "reliability.md"
MARKED = re.compile(r"(<!-- mutation -->\n).*?(<!-- end of mutation -->)", re.DOTALL)
VERDICTS = ("equivalent", "wording", "no fast test", "open")  # of survivors; the first two are written by hand


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The last outcome of each change, in the order of the first ones."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        row = json.loads(line)
        rows[row["file"], row["number"]] = row
    return list(rows.values())


def write_table(results: Path) -> int:
    """Write the JSON and the table; verdicts in the JSON stay with their changes."""
    stored = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {"survivors": []}
    by_hand = [row for row in stored["survivors"] if row["verdict"] in VERDICTS[:2]]
    verdicts = {(row["file"], row["number"]): row["verdict"] for row in by_hand}
    rows = read_rows(results)
    tested = Counter(row["file"] for row in rows)
    survivors = [
        {key: row[key] for key in ("file", "number", "line", "change", "outcome")}
        | {"verdict": verdicts.get((row["file"], row["number"])) or verdict_of(row)}
        for row in rows
        if row["outcome"].startswith("survived")
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    about = stored.get("about") or f"commit {commit.stdout.strip()}, {describe()}"
    counts = {file: [tested[file], len(changes_of(file))] for file in files() if changes_of(file)}
    lines = [json.dumps(row) for row in survivors]
    text = ",\n  ".join(lines)
    head = f'{{\n "about": {json.dumps(about)},\n "tested of all": {json.dumps(counts)},\n'
    RESULTS.write_text(f'{head} "survivors": [\n  {text}\n ]\n}}\n', encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    minutes = sum(row["seconds"] for row in rows) / 60
    table = f"{about}, {minutes:.0f} minutes without the recording of lines:\n\n{markdown(rows, survivors)}\n"
    PAGE.write_text(MARKED.sub(lambda match: match[1] + table + match[2], page), encoding="utf-8")
    return 0


def verdict_of(row: dict[str, Any]) -> str:
    return "no fast test" if row["tests"] == 0 else "open"


def markdown(rows: list[dict[str, Any]], survivors: list[dict[str, Any]]) -> str:
    """A row for each package with a complete file, and what is incomplete."""
    total = {file: len(changes_of(file)) for file in files() if changes_of(file)}
    tested = Counter(row["file"] for row in rows)
    lines = [
        f"| files | changes | a test fails | {' | '.join(VERDICTS)} |",
        f"| --- |{' --- |' * (2 + len(VERDICTS))}",
    ]

    def line(name: str, chosen: set[str]) -> str:
        own = Counter(row["verdict"] for row in survivors if row["file"] in chosen)
        count = sum(tested[file] for file in chosen)
        cells = [count, count - own.total(), *(own[verdict] for verdict in VERDICTS)]
        return f"| {name} | {' | '.join(f'{cell:,}' for cell in cells)} |"

    packages: dict[str, set[str]] = {}
    for file in tested:
        packages.setdefault(str(Path(file).parent.relative_to("saccade")), set()).add(file)
    lines += [line(f"`{name}`", packages[name]) for name in sorted(packages)]
    lines.append(line("all", set(tested)))
    missing = [f"`{file.removeprefix('saccade/')}`" for file in total if tested[file] < total[file]]
    text = "\n".join(lines)
    if missing:
        text += f"\n\nNot complete ({len(rows):,} of {sum(total.values()):,} changes): {', '.join(missing)}."
    return text
