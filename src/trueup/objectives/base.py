"""What an objective is: hyperparameters and one function from a view to per-example losses."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from trueup.errors import MissingInputError
from trueup.policies.responses import View

V = TypeVar("V", bound=View)


@dataclass(frozen=True, init=False)
class Loss:
    """Per-example losses `values` [n] with `weights` [n] (default 1) and diagnostics [n].

    The trainer reduces them to sum(values * weights) / sum(weights) over the global batch; an objective never
    averages. Weights are constants: no gradient flows through them.
    """

    values: Tensor
    weights: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)

    def __init__(self, values: Tensor, weights: Tensor | None = None, **metrics: Tensor) -> None:
        ones = torch.ones_like(values)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "weights", ones if weights is None else weights.detach().to(values.dtype))
        object.__setattr__(self, "metrics", {name: metric.detach() for name, metric in metrics.items()})

    def mean(self) -> Tensor:
        """The weighted mean: what the trainer minimises when this is the whole global batch."""
        return (self.values * self.weights).sum() / self.weights.sum()


class Objective(Generic[V]):
    """A frozen dataclass of hyperparameters, called with a view: `class DPO(Objective[Pairs])`."""

    view: ClassVar[type[View]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for base in getattr(cls, "__orig_bases__", ()):
            if typing.get_origin(base) is Objective:
                cls.view = typing.get_args(base)[0]

    def __call__(self, view: V) -> Loss:
        raise NotImplementedError

    @classmethod
    def needs(cls) -> tuple[str, ...]:
        """The feedback the objective reads, and `reference` if it reads reference log-probabilities."""
        kind = cls.view.__name__.lower()
        return (kind, "reference") if cls().needs_reference else (kind,)

    @property
    def needs_reference(self) -> bool:
        """Whether this objective, with these hyperparameters, reads reference log-probabilities (found by trying)."""
        from trueup.objectives.examples import example

        try:
            self(typing.cast(V, example(self.view, reference=False)))
        except MissingInputError as error:
            return error.name == "reference"
        return False
