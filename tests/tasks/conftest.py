"""Runs of tasks are trained as those of tests/training are."""

from tests.training.conftest import _the_same_precision  # noqa: F401
