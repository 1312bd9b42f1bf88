"""Coverage-guided fuzzing of decoding and preprocessing by atheris: only errors of one line may escape.

    python -m benchmarks.fuzz_images                      # 60 s
    python -m benchmarks.fuzz_images --runs 300           # as in the tests
    python -m benchmarks.fuzz_images --input crash-1234   # one input that was found

It starts from small images of every format. libFuzzer writes an input that raises another error, takes over 20 s
or over 2 GB into the folder that it runs in. Needs `pip install atheris` (Linux).
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["saccade.data"]):
    from saccade.data.images import read_scaled
    from saccade.data.preprocessing import Preprocessing

from benchmarks.attack.pictures import picture_files
from saccade.errors import SaccadeError

PREPROCESSING = Preprocessing((32, 32))
MAX_PIXELS = 4_000_000


def one_input(content: bytes) -> None:
    """Decode and prepare an image file, for colour and for grey."""
    for channels in (3, 1):
        try:
            image, _ = read_scaled(content, channels=channels, max_pixels=MAX_PIXELS)
            if channels == 3:
                PREPROCESSING(image)
        except SaccadeError as error:
            if "\n" in str(error):
                raise ValueError(f"an error of several lines: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="stop after so many inputs")
    parser.add_argument("--input", type=Path, help="a file to run once")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.input:
        one_input(arguments.input.read_bytes())
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, content in picture_files().items():
            (Path(folder) / name).write_bytes(content)
        limits = ["-max_len=8192", "-timeout=20", "-rss_limit_mb=2048", "-seed=1", "-print_final_stats=1"]
        limits += [f"-max_total_time={arguments.seconds}", f"-runs={arguments.runs}"]
        atheris.Setup([sys.argv[0], *limits, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
