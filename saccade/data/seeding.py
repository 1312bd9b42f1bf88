"""Seeds of independent random streams, derived from the seed of a run.

Every random draw of training is a function of a run's seed, a position (the step, or the epoch and the image) and a
stream, so any process can repeat any step without the steps before it.
"""

from enum import IntEnum

GENERATOR_BITS = 2**63


class RandomStream(IntEnum):
    """Purpose of random numbers. The values affect the result of every run, so they never change.

    Two streams may share a value if their seeds are mixed from different numbers of parts, as for CAPTION and MASKING,
    which belong to one view of one sample instead of a step.
    """

    ORDER = 0  # (seed, epoch): permutation of the training images
    MIXING = 1  # (seed, step): affine warp, mixup and cutmix of a batch
    REGULARIZATION = 2  # (seed, step, rank): dropout and stochastic depth
    WEIGHTS = 3  # (seed, 0): initial weights
    GEOMETRY = 4  # (seed, step): crop and flip of a batch
    ERASING = 5  # (seed, step): random erasing of a batch
    COLOUR = 6  # (seed, step), then the group: colour operations of a batch
    PATCH_MASK = 7  # (seed, step): masked patches of a batch
    REPEATS = 8  # (seed, step), then the repeat: order of the images in it
    CAPTION = 5  # (seed, epoch, image, repeat): which of an image's captions
    MASKING = 6  # (seed, epoch, text, repeat), or (text,) in evaluation: masked tokens and sentence pairs


def mix_seed(*numbers: int) -> int:
    """One well-mixed seed in [0, 2^63) from several integers: neighbouring integers give unrelated seeds."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ (number & (2**64 - 1))) & (2**64 - 1)
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)  # the finaliser of splitmix64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        state = (state ^ (state >> 31)) + 0x9E3779B97F4A7C15
    return state % GENERATOR_BITS
