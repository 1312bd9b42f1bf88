"""How long a person waits for the command line to answer.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

from machine import describe

COMMANDS = (["--help"], ["train", "--help"], ["--version"])
ROUNDS = 9


def seconds(arguments: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "saccade", *arguments], capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    print(f"{describe()}\n\n| command | median of {ROUNDS} |\n| --- | --- |")
    for arguments in COMMANDS:
        times = [seconds(arguments) for _ in range(ROUNDS)]
        print(f"| `saccade {' '.join(arguments)}` | {statistics.median(times):.2f} s |", flush=True)


if __name__ == "__main__":
    main()
