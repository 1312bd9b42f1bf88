"""`python -m saccade`: the command, for launchers that start modules."""

from saccade.cli.main import run

if __name__ == "__main__":  # workers of the loader import this module too
    run()
