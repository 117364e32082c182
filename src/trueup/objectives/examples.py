"""Random views of each kind: what the laws and `needs_reference` try an objective on."""

from __future__ import annotations

import torch
from torch import Tensor

from trueup.policies.responses import Demonstrations, Labelled, Pairs, Rankings, Responses, View


def random_responses(lengths: list[int], *, reference: bool, generator: torch.Generator) -> Responses:
    """Responses of the given lengths in float64, with log-probabilities of a plausible size."""

    def logp() -> Tensor:
        return -torch.rand(sum(lengths), generator=generator, dtype=torch.float64) * 2 - 0.05

    return Responses(
        logp=logp().requires_grad_(),
        index=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
        weight=torch.ones(sum(lengths), dtype=torch.float64),
        length=torch.tensor(lengths),
        ref_logp=logp() if reference else None,
    )


def example(view: type[View], *, reference: bool = True, seed: int = 0, n: int = 6) -> View:
    """A random view of `n` examples whose responses have different lengths."""
    generator = torch.Generator().manual_seed(seed)

    def side(count: int) -> Responses:
        lengths = torch.randint(1, 9, (count,), generator=generator).tolist()
        return random_responses(lengths, reference=reference, generator=generator)

    if view is Demonstrations:
        return Demonstrations(side(n))
    if view is Pairs:
        return Pairs(side(n), side(n))
    if view is Labelled:
        return Labelled(side(n), torch.arange(n) % 2 == 0)
    if view is Rankings:
        return Rankings(side(3 * n), torch.arange(n).repeat_interleave(3), torch.tensor([1, 2, 3] * n))
    raise TypeError(f"no example of {view.__name__} is known")
