"""Run a training in child processes, killing them at random moments, until it has come to its end.

    python -m tests.training.kill_harness CONFIG.yaml RUN_DIRECTORY KILLS SEED LONGEST

The children are forks of this process, so that each starts at once; a kill comes after 0.1 to LONGEST seconds. Prints
the number of kills that hit.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from saccade.training.config import read_config
from saccade.training.run_directory import RunDirectory
from tests.running import train


def run_in_child(config_path: Path, directory: Path) -> None:
    torch.set_num_threads(1)
    config = read_config(config_path)
    if (directory / "env.json").exists():
        train(config, RunDirectory.existing(directory), resume=True)
    else:
        run = RunDirectory(directory) if directory.exists() else RunDirectory.create(config, directory)
        train(config, run)


def main() -> None:
    config, directory, kills, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    longest = float(sys.argv[5])
    generator = random.Random(seed)
    hits = 0
    while True:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_in_child(config, directory)
                status = 0
            finally:
                os._exit(status)
        if hits < kills:
            deadline = time.monotonic() + generator.uniform(0.1, longest)
            while time.monotonic() < deadline and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.005)
            if time.monotonic() >= deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                hits += 1
                continue
            break  # it ended before its time: no more to kill
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(f"a run that nobody killed failed: {status}")
        break
    print(hits)


main()
