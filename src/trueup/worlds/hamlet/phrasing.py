"""Ways to ask: an opener, a core and a closer; a quarter of the combinations are kept for tests."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from itertools import product

from trueup.worlds.hamlet.village import Split

OPENERS = ("", "please,", "good day,", "say,", "neighbor,", "tell me,")
CLOSERS = ("", "thank you.")


def held_out(phrasing: str) -> bool:
    """Whether a phrasing is kept for tests; depends on its text alone, so it is the same in every world."""
    return zlib.crc32(phrasing.encode()) % 4 == 0


class Phrasings:
    """All combinations of openers, `cores` and closers, divided between training and tests."""

    def __init__(
        self, cores: Sequence[str], *, openers: Sequence[str] = OPENERS, closers: Sequence[str] = CLOSERS
    ) -> None:
        every = [" ".join(part for part in parts if part) for parts in product(openers, cores, closers)]
        self.test = tuple(text for text in every if held_out(text))
        self.train = tuple(text for text in every if not held_out(text))
        if not self.test or not self.train:
            raise ValueError(f"too few phrasings to divide: {every}")

    def pick(self, split: Split, rng: random.Random) -> str:
        return rng.choice(self.test if split == "test" else self.train)
