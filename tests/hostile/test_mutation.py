"""The planted mistakes of ``python -m benchmarks.mutation --planted``."""

from benchmarks.mutation.planted import PLANTED, planted


def test_every_planted_mistake_has_a_place_in_the_code() -> None:
    assert len(planted()) == len(PLANTED)
