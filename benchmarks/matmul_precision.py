"""What each way to multiply float32 matrices does to one block of a model: the table of docs/performance.md.

python benchmarks/matmul_precision.py
"""

import re

from machine import describe

import saccade
from saccade.nn.matmul_precision import choose_matmul_precision

CASES = [("vit_digits", 64), ("vit_ti16", 8), ("vit_s16", 8), ("vit_b16", 1)]  # model, images of one call


def main() -> None:
    print(f"{describe()}\n")
    print("| model | job | `high` | `medium` | largest error | taken |\n| --- | --- | --- | --- | --- | --- |")
    for name, batch_size in CASES:
        for job in ("inference", "training"):
            model = saccade.create(name).train(job == "training")
            choice = choose_matmul_precision("cpu", model, batch_size=batch_size)
            _, high, medium = re.findall(r"([\d.]+)x", choice.reason)
            error = max(float(e) for e in re.findall(r"error (\S+?)[,)]", choice.reason))
            row = f"| {name}, batch {batch_size} | {job} | {high} | {medium} | {error:.0e} | {choice.precision} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
