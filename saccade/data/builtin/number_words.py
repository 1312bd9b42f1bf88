"""Numbers in words, English and French: a small language with a known grammar, for which the optimal result is known.

342 781    three hundred and forty-two thousand seven hundred and eighty-one
           trois cent quarante-deux mille sept cent quatre-vingt-un
"""

from functools import cache

import numpy as np

from saccade.data.config import NumbersConfig
from saccade.data.splits import SPLITS
from saccade.errors import ConfigError

LIMIT = 1_000_000  # the grammar ends here
# fmt: off
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
UNITES = (
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze", "treize",
    "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf",
)
DIZAINES = (
    "", "", "vingt", "trente", "quarante", "cinquante", "soixante", "soixante", "quatre-vingt", "quatre-vingt",
)
# fmt: on


def english(number: int) -> str:
    """A number in [0, 1,000,000) in British English."""
    thousands, rest = divmod(_checked(number), 1000)
    if not thousands:
        return _hundreds(rest)
    if not rest:
        return f"{_hundreds(thousands)} thousand"
    return f"{_hundreds(thousands)} thousand {'and ' if rest < 100 else ''}{_hundreds(rest)}"


def french(number: int) -> str:
    """A number in [0, 1,000,000) in the French of France, in the spelling before 1990."""
    milliers, reste = divmod(_checked(number), 1000)
    if not milliers:
        return _centaines(reste, last=True)
    mille = "mille" if milliers == 1 else f"{_centaines(milliers, last=False)} mille"
    return f"{mille} {_centaines(reste, last=True)}" if reste else mille


@cache
def number_splits(config: NumbersConfig) -> dict[str, np.ndarray]:
    """Numbers for training, validation and testing, disjoint.

    Raises:
        ConfigError: there are fewer numbers than the splits need.
    """
    sizes = (config.train, config.val, config.test)
    if not 0 < config.limit <= LIMIT or min(sizes) < 0 or not config.train or sum(sizes) > config.limit:
        raise ConfigError(
            f"data.numbers: {' + '.join(map(str, sizes))} different numbers need a larger "
            f"data.numbers.limit than {config.limit} (at most {LIMIT})"
        )
    numbers = np.random.default_rng(config.seed).permutation(config.limit)[: sum(sizes)]
    parts = np.split(numbers, np.cumsum(sizes)[:2])
    return dict(zip(SPLITS, parts))


def _hundreds(n: int) -> str:
    hundreds, rest = divmod(n, 100)
    if not hundreds:
        return _below_hundred(rest)
    return f"{ONES[hundreds]} hundred and {_below_hundred(rest)}" if rest else f"{ONES[hundreds]} hundred"


def _below_hundred(n: int) -> str:
    if n < 20:
        return ONES[n]
    tens, ones = divmod(n, 10)
    return f"{TENS[tens]}-{ONES[ones]}" if ones else TENS[tens]


def _centaines(n: int, *, last: bool) -> str:
    """`last`: the end of the number, where cents and quatre-vingts have an s."""
    centaines, reste = divmod(n, 100)
    cent = "" if not centaines else "cent" if centaines == 1 else f"{UNITES[centaines]} cent"
    if not reste:
        return (f"{cent}s" if centaines > 1 and last else cent) if centaines else UNITES[0]
    below = _moins_de_cent(reste, last=last)
    return f"{cent} {below}" if cent else below


def _moins_de_cent(n: int, *, last: bool) -> str:
    if n < 20:
        return UNITES[n]
    dizaine, unite = divmod(n, 10)
    if dizaine in (7, 9):  # soixante-dix, quatre-vingt-dix: counted from 60 and 80
        unite += 10
    if not unite:
        return "quatre-vingts" if dizaine == 8 and last else DIZAINES[dizaine]
    connector = " et " if unite in (1, 11) and dizaine < 8 else "-"
    return f"{DIZAINES[dizaine]}{connector}{UNITES[unite]}"


def _checked(number: int) -> int:
    if not 0 <= number < LIMIT:
        raise ValueError(f"the grammar covers numbers from 0 to {LIMIT - 1}, not {number}")
    return number
