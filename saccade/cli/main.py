"""The command line. Each command is one thin file; neither a command nor torch is loaded until it is needed."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from saccade.cli import address_space
from saccade.cli.allocator import keep_freed_memory
from saccade.cli.terminal import one_line, prepare_terminal
from saccade.errors import ConfigError, SaccadeError
from saccade.version import __version__

if TYPE_CHECKING:
    from cyclopts import App

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

# In errors of PyTorch, NumPy, thread pools and the loader of libraries where the memory is full or limited.
NO_MEMORY = (
    "can't allocate memory", "out of memory", "Unable to allocate", "Cannot allocate memory", "bad allocation",
    "std::bad_alloc", "can't start new thread", "failed to map segment",
)  # fmt: skip

ABOUT = "Vision transformers: train on your own images, load published checkpoints, look inside, compare, ship."
COMMANDS = {  # name -> where it is, what it does
    "train": ("saccade.cli.train:train", "Train a model on your own data and write its report."),
    "pretrain": ("saccade.cli.pretrain:pretrain", "Pre-train without labels: masked images or masked words."),
    "evaluate": ("saccade.cli.evaluate:evaluate", "Measure a model on data with targets."),
    "predict": ("saccade.cli.predict:predict", "Predict images or texts; draw the predictions."),
    "embed": ("saccade.cli.embed:embed", "Write a vector for each image, for search and clustering."),
    "zeroshot": ("saccade.cli.zeroshot:zeroshot", "Classify images by class names in words (CLIP)."),
    "search": ("saccade.cli.search:search", "Find images by words, or by another image."),
    "translate": ("saccade.cli.translate:translate", "Generate a text from a text or an image."),
    "fill": ("saccade.cli.fill:fill", "Predict the masked words of a text."),
    "probe": ("saccade.cli.probe:probe", "Measure frozen features: nearest neighbours, few-shot, linear."),
    "explain": ("saccade.cli.explain:explain", "Draw what a model attends to."),
    "analyze": ("saccade.cli.analyze:app", "Analyse a model: attention, layers, positions, cost, robustness."),
    "look": ("saccade.cli.look:look", "Explore and change attention in a browser."),
    "serve": ("saccade.cli.serve:serve", "Serve models over HTTP, with batching and limits."),
    "prune": ("saccade.cli.prune:prune", "Remove the least important heads and blocks."),
    "lab": ("saccade.cli.lab:app", "Run studies of many runs, and fit scaling laws to them."),
    "compare": ("saccade.cli.compare:compare", "Compare two models of a task on the same inputs, in one report."),
    "convert": ("saccade.cli.convert:convert", "Write a model in another project's format."),
    "export": ("saccade.cli.export:export", "Write a model for ONNX Runtime, OpenVINO or torch.export."),
    "models": ("saccade.cli.models:models", "List the models with task, parameters and cost."),
    "data": ("saccade.cli.data:app", "Check a data set, pack it into shards, or compose scenes."),
    "doctor": ("saccade.cli.doctor:doctor", "Check this machine and the installation."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 ok, 1 failed, 2 wrong usage, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments or arguments in (["--help"], ["-h"]):
        try:
            print(overview(), flush=True)
        except BrokenPipeError:
            close_output()
        return EXIT_OK
    from cyclopts import CycloptsError

    try:
        code = make_app()(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:  # cyclopts has printed what was wrong with the arguments
        return EXIT_USAGE
    except SaccadeError as error:
        print(f"saccade: {one_line(error)}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has had enough
        close_output()
        return EXIT_OK
    except OSError as error:  # a full disk, a missing right: the system's own words are clear
        print(f"saccade: {one_line(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # another one ends the process without a traceback
        print("saccade: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (MemoryError, RuntimeError, ImportError, ValueError) as error:
        line = resource_line(error)
        if line is None:
            raise
        print(f"saccade: {line}", file=sys.stderr)
        return EXIT_FAILED
    return code if isinstance(code, int) else EXIT_OK


def resource_line(error: Exception) -> str | None:
    """Message for an error of the machine or an invalid file name; None for an error of the code."""
    text = one_line(error)
    if isinstance(error, MemoryError) or any(sign in text for sign in NO_MEMORY):
        return f"not enough memory ({text or 'an allocation failed'}): use smaller images or a smaller --batch-size"
    return f"no file has such a name: {text}" if "embedded null" in text else None


def close_output() -> None:
    """Discard what Python writes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def overview() -> str:
    """Text of `saccade --help`; written here, because loading the parser takes three times as long."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {does}" for name, (_, does) in COMMANDS.items())
    return (
        f"Usage: saccade COMMAND\n\n{ABOUT}\n\nCommands:\n{commands}\n\n"
        "  saccade COMMAND --help  lists the options of a command; saccade --version prints the version.\n\n"
        "Start with: saccade train"
    )


def make_app() -> "App":
    """The parser; commands are loaded on use."""
    from cyclopts import App

    app = App(name="saccade", help=ABOUT, version=__version__, help_format="plaintext")
    for name, (place, does) in COMMANDS.items():
        app.command(place, name=name, help=does)
    return app


def run() -> None:
    """The entry point of the `saccade` command."""
    keep_freed_memory()
    prepare_terminal()
    limit = address_space.limit()
    if limit is None or len(sys.argv) < 2 or sys.argv[1] not in COMMANDS or {"-h", "--help"} & {*sys.argv}:
        sys.exit(main())
    if not address_space.holds_libraries():
        print(
            f"saccade: not enough memory: the address space is limited to {limit / 2**30:.1f} GiB (ulimit -v), and "
            "PyTorch does not fit into it",
            file=sys.stderr,
        )
        sys.exit(EXIT_FAILED)
    code = main()
    if code == EXIT_FAILED:  # without what libraries do at the end, which prints tracebacks where the memory is full
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
