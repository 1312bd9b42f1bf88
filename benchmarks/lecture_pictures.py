"""The pages of docs/lectures: run their code and keep the pictures that it saves.

python -m benchmarks.lecture_pictures              every page
python -m benchmarks.lecture_pictures 05 31        the pages whose names begin so
python -m benchmarks.lecture_pictures 05 --text    also write what the code prints into the page

A page runs in a folder of its own, its blocks in their order: Python, and the lines of bash blocks that call saccade. A
```text block directly behind a block of code is what that code prints. A picture that the page links to as images/NAME
is the file NAME that its code saves.
"""

import argparse
import contextlib
import io
import os
import re
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from saccade.cli.main import main as saccade_main

LECTURES = Path(__file__).parents[1] / "docs" / "lectures"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n```text\n(?P<text>.*?)^```\n)?", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]*\]\(images/([^)]+)\)")
NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
MAX_BYTES = 40_000  # of a picture


@dataclass(frozen=True)
class Output:
    """What a block of code prints, and where its page has the text for it.

    Attributes:
        printed: of a run.
        text: of the page; None without a ```text block.
        place: where that text begins and ends in the page.
    """

    printed: str
    text: str | None
    place: tuple[int, int]


def pages() -> list[Path]:
    """The pages in the order of the lectures."""
    return sorted(LECTURES.glob("[0-9]*.md"))


def run_page(page: Path) -> list[Output]:
    """Run the code of a page in the current folder.

    Raises:
        RuntimeError: a command fails.
    """
    plt.switch_backend("Agg")
    names: dict = {"__name__": "__main__"}
    outputs = []
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        language, code = block[1], block[2]
        if language not in ("python", "bash"):
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if language == "python":
                exec(compile(code, str(page), "exec"), names)
            else:
                for line in code.splitlines():
                    if line.startswith("saccade ") and saccade_main(shlex.split(line)[1:]) != 0:
                        raise RuntimeError(f"{page.name}: {line}")
        outputs.append(Output(printed.getvalue(), block["text"], block.span("text")))
    plt.close("all")
    return outputs


def same_text(printed: str, text: str) -> bool:
    """Whether two outputs have the same words, and numbers that differ by one unit of their last digit at most.

    Numbers of a line with "≈" depend on the machine: the page's own assert bounds them, and they are not compared.
    """
    left, right = ([line.rstrip() for line in part.rstrip().splitlines()] for part in (printed, text))
    return len(left) == len(right) and all(_same_line(a, b) for a, b in zip(left, right))


def _same_line(a: str, b: str) -> bool:
    if NUMBER.sub("#", a).split() != NUMBER.sub("#", b).split():
        return False
    if "≈" in a:
        return True
    pairs = zip(NUMBER.findall(a), NUMBER.findall(b))
    return all(abs(_value(x) - _value(y)) <= 1.001 * max(_unit(x), _unit(y)) for x, y in pairs)


def _value(number: str) -> float:
    return float(number.replace("−", "-").replace(",", ""))


def _unit(number: str) -> float:
    """Of the last digit; 0 for a whole number, which has to be equal."""
    mantissa, _, exponent = number.partition("e")
    digits = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - digits) if digits else 0.0


def linked_pictures(page: Path) -> list[str]:
    """Names of the pictures that a page shows."""
    return PICTURE.findall(page.read_text(encoding="utf-8"))


def keep_pictures(page: Path, folder: Path) -> None:
    """Bring the pictures that the page's code saved in a folder to docs/lectures/images, with few colours.

    Raises:
        FileNotFoundError: the code did not save one.
        ValueError: one is too large.
    """
    for name in linked_pictures(page):
        target = LECTURES / "images" / name
        target.parent.mkdir(exist_ok=True)
        if target.suffix == ".png":
            picture = Image.open(folder / name).convert("RGB")
            picture.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)
        else:
            target.write_bytes((folder / name).read_bytes())
        if target.stat().st_size > MAX_BYTES:
            raise ValueError(f"{target} has {target.stat().st_size} bytes, more than {MAX_BYTES}")


def write_text(page: Path, outputs: list[Output]) -> None:
    """Put what the code prints into the page's ```text blocks."""
    content = page.read_text(encoding="utf-8")
    for output in reversed(outputs):
        if output.text is not None:
            start, end = output.place
            content = content[:start] + output.printed.rstrip() + "\n" + content[end:]
    page.write_text(content, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="beginnings of the pages' names; every page unless given")
    parser.add_argument("--text", action="store_true", help="write what the code prints into the pages")
    options = parser.parse_args()
    before = os.getcwd()
    for page in pages():
        if options.names and not page.name.startswith(tuple(options.names)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            start = time.process_time()
            try:
                outputs = run_page(page)
            finally:
                os.chdir(before)
            seconds = time.process_time() - start
            keep_pictures(page, Path(folder))
        if options.text:
            write_text(page, outputs)
        changed = [o for o in outputs if o.text is not None and not same_text(o.printed, o.text)]
        print(f"{page.name}: {seconds:.1f} s of CPU{'' if not changed or options.text else ', prints another text'}")
        for output in [] if options.text else changed:
            print(output.printed)


if __name__ == "__main__":
    main()
