"""The comment of a field: behind it on its line, with the lines that go on there, or on the lines above."""

from collections.abc import Sequence


def field_comment(lines: Sequence[str], first: int, last: int) -> str:
    """What the source says of a field of a class.

    Args:
        lines: of the file.
        first: number of the field's first line, from 1.
        last: of its last line.

    Returns:
        The comment in one line; "" without one.
    """
    _, mark, behind = lines[last - 1].partition("  # ")
    if mark:
        return _plain([behind])
    above = []
    for line in reversed(lines[: first - 1]):
        if not line.strip().startswith("# "):
            break
        above.insert(0, line.strip().removeprefix("# "))
    return _plain(above)


def _plain(parts: Sequence[str]) -> str:
    text = " ".join(part.strip() for part in parts)
    for mark in ("type: ignore", "fmt: ", "noqa", "pyright: "):
        text = text.partition(mark)[0]
    return text.strip().removesuffix("#").strip()
