"""`python -m saccade`: the same as the command, for launchers that start modules."""

from saccade.cli.main import run

run()
