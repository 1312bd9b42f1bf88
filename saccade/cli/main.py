"""The command line. Each command is one thin file; none is loaded, and torch neither, until it is asked for."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from saccade import __version__
from saccade.errors import ConfigError, SaccadeError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

app = App(
    name="saccade",
    help="Vision transformers: train on your own images, load published checkpoints, look inside, compare, ship.",
    version=__version__,
    help_epilogue="Start with: saccade train",
)
app.command("saccade.cli.train:train", help="Train a classifier on images and write its model and report.")
app.command("saccade.cli.evaluate:evaluate", help="Measure a model on labelled images.")
app.command("saccade.cli.predict:predict", help="Say what images show.")
app.command("saccade.cli.explain:explain", help="Draw what a model attends to in an image.")
app.command("saccade.cli.models:models", help="List the models, their parameters and their cost.")
app.command("saccade.cli.data:app", name="data", help="Check a data set, or pack it into shards.")
app.command("saccade.cli.doctor:doctor", help="Say what this machine has and how fast it is.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 ok, 1 failed, 2 wrong usage, 130 interrupted."""
    try:
        code = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
    except CycloptsError:  # cyclopts has said what was wrong with the arguments
        return EXIT_USAGE
    except SaccadeError as error:
        print(f"saccade: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    except OSError as error:  # a full disk, a missing right: the system's own words are clear
        print(f"saccade: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("saccade: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else EXIT_OK


def run() -> None:
    """The entry point of the `saccade` command."""
    sys.exit(main())
