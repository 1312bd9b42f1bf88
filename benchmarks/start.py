"""How long a person waits for the first answer of a new process, beside a script of ten lines with timm.

    python -m benchmarks.start deit_tiny_patch16_224.pth photo.jpg [--exported FOLDER] [--rounds 5]

Every way starts in turn in each round. FOLDER is what `saccade export MODEL --to openvino --out FOLDER` wrote. Without
arguments: the answers of the command line that need no model.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.machine import describe

TIMM = """
import sys
import timm, torch
from PIL import Image

model = timm.create_model("deit_tiny_patch16_224", checkpoint_path=sys.argv[1]).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
with torch.inference_mode():
    scores, classes = model(transform(Image.open(sys.argv[2]).convert("RGB"))[None]).softmax(dim=1)[0].topk(5)
names = timm.data.ImageNetInfo()
print(*(f"{names.index_to_description(int(c))} {s:.1%}" for s, c in zip(scores, classes)), sep=", ")
"""
ROOT = Path(__file__).parents[1]
SACCADE = [sys.executable, "-m", "saccade"]
ANSWERS = {
    f"saccade {' '.join(words)}": [*SACCADE, *words] for words in (["--help"], ["train", "--help"], ["--version"])
}


def seconds(command: list[str]) -> tuple[float, float]:
    """Of the clock and of the processor."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command[-3:])}: {(ran.stderr.strip().splitlines() or ['failed'])[-1]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(seconds(command))
    return times


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a DeiT-Ti as its authors publish it")
    parser.add_argument("image", nargs="?")
    parser.add_argument("--exported")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    commands = ANSWERS
    if options.model:
        commands = {
            "timm, ten lines": [sys.executable, "-c", TIMM, options.model, options.image],
            "saccade predict CHECKPOINT": [*SACCADE, "predict", options.model, options.image],
        }
        if options.exported:
            commands["saccade predict EXPORTED"] = [*SACCADE, "predict", options.exported, options.image]
    times = measure(commands, options.rounds)
    base = next(iter(times.values()))
    print(f"{describe()}, one thread, {options.rounds} rounds, medians\n")
    print("| command | seconds | × the first | processor's seconds | × the first |\n| --- | --- | --- | --- | --- |")
    for name, samples in times.items():
        cells = []
        for clock in (0, 1):
            ratio = statistics.median(a[clock] / b[clock] for a, b in zip(samples, base))
            cells += [f"{statistics.median(sample[clock] for sample in samples):.2f}", f"{ratio:.2f}"]
        print(f"| `{name}` | {' | '.join(cells)} |")
    if options.json:
        options.json.write_text(json.dumps({"note": describe(), "seconds": times}, indent=1) + "\n")


if __name__ == "__main__":
    main()
