"""Seeds: far apart for close numbers, and those of published runs for every stream."""

from saccade.data.seeding import RandomStream, mix_seed


def test_seeds_are_far_apart() -> None:
    seeds = {mix_seed(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_have_the_seeds_of_published_runs() -> None:
    values = {name: int(stream) for name, stream in RandomStream.__members__.items()}
    assert values == {
        "ORDER": 0, "MIXING": 1, "REGULARIZATION": 2, "WEIGHTS": 3, "GEOMETRY": 4, "ERASING": 5, "COLOUR": 6,
        "PATCH_MASK": 7, "REPEATS": 8, "CAPTION": 5, "MASKING": 6,
    }  # fmt: skip
    assert mix_seed(3, 7, RandomStream.MIXING) == mix_seed(3, 7, 1) == 7270173935394601524
