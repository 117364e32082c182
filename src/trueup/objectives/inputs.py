"""Views from plain numbers: what `trueup loss` reads, and the gradients it gives back."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trueup.errors import FeedbackError
from trueup.objectives.base import Objective
from trueup.policies.responses import Demonstrations, Labelled, Pairs, Rankings, Responses, View

# For each view: the inputs that must be there, and those that may.
INPUTS: dict[type[View], tuple[tuple[str, ...], tuple[str, ...]]] = {
    Demonstrations: (("logps",), ("ref_logps", "lengths")),
    Pairs: (("chosen", "rejected"), ("ref_chosen", "ref_rejected", "chosen_lengths", "rejected_lengths", "strength")),
    Rankings: (("responses", "ranks"), ("ref_responses", "lengths", "scores")),
    Labelled: (("logps", "labels"), ("ref_logps", "lengths")),
}


@dataclass(frozen=True)
class LogProbs:
    """One input's log-probabilities: `flat` [T] carries the gradient, `counts` the entries of each response.

    `tokens` tells whether the file lists token log-probabilities (else one sum per response).
    """

    name: str
    flat: Tensor
    counts: list[int]
    tokens: bool

    def nested(self, values: Tensor) -> list[Any]:
        """`values` [T] in the shape of the file's input."""
        if not self.tokens:
            return values.tolist()
        return [part.tolist() for part in values.split(self.counts)]


def evaluate(objective: Objective[Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Values, loss, gradients and metrics of `objective` on plain numbers, in float64.

    `grad[input]` is the derivative of `loss` (the weighted mean) with respect to that input, `value_grad[input]`
    that of the sum of `values`: each example's own derivative where examples do not affect one another.

    Raises:
        FeedbackError: an input is missing, unknown, of the wrong length or not a finite number.
        MissingInputError: the objective reads reference log-probabilities or lengths that are not there.
    """
    view, leaves, groups = read(objective.view, inputs)
    loss = objective(view)
    mean, total = loss.mean(), loss.values.sum()

    def gradients(scalar: Tensor) -> dict[str, list[Any]]:
        found = torch.autograd.grad(
            scalar, [leaf.flat for leaf in leaves], retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return {leaf.name: _regroup(leaf.nested(g), groups) for leaf, g in zip(leaves, found, strict=True)}

    return {
        "values": loss.values.tolist(),
        "loss": mean.item(),
        "grad": gradients(mean),
        "value_grad": gradients(total),
        "metrics": {name: metric.tolist() for name, metric in loss.metrics.items()},
    }


def read(view: type[View], inputs: Mapping[str, Any]) -> tuple[View, list[LogProbs], list[int] | None]:
    """The view, the policy's log-probabilities it was made from, and the group sizes of rankings (else None)."""
    required, optional = INPUTS[view]
    _check_names(view, inputs, required, optional)
    groups = None
    if view is Rankings:
        groups = [len(group) for group in _lists(inputs, "responses")]
        inputs = {name: [x for group in _lists(inputs, name) for x in group] for name in inputs}
    leaves: list[LogProbs] = []

    def side(name: str, lengths: str) -> Responses:
        ref_name = f"ref_{name}"
        logps = _log_probs(name, inputs[name], gradient=True)
        ref = _log_probs(ref_name, inputs[ref_name], gradient=False) if ref_name in inputs else None
        leaves.append(logps)
        return _responses(logps, ref, _column(inputs, lengths, len(logps.counts)))

    if view is Pairs:
        chosen, rejected = side("chosen", "chosen_lengths"), side("rejected", "rejected_lengths")
        if len(chosen) != len(rejected):
            raise FeedbackError(f"chosen has {len(chosen)} responses and rejected {len(rejected)}; they must match.")
        return Pairs(chosen, rejected, _column(inputs, "strength", len(chosen))), leaves, None
    if view is Demonstrations:
        return Demonstrations(side("logps", "lengths")), leaves, None
    if view is Labelled:
        responses = side("logps", "lengths")
        return Labelled(responses, _labels(inputs["labels"], len(responses))), leaves, None
    assert groups is not None
    responses = side("responses", "lengths")
    ranks = _column(inputs, "ranks", len(responses))
    assert ranks is not None
    group = torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(groups))
    return Rankings(responses, group, ranks.long(), _column(inputs, "scores", len(responses))), leaves, groups


def _check_names(view: type[View], inputs: Mapping[str, Any], required: Sequence[str], optional: Sequence[str]) -> None:
    known = [*required, *optional]
    for name in inputs:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"Did you mean {near[0]}?" if near else f"It reads {', '.join(known)}."
            raise FeedbackError(f"{view.__name__.lower()} have no input {name!r}.", fix=fix)
    if missing := [name for name in required if name not in inputs]:
        raise FeedbackError(f"the input {missing[0]!r} is missing.", fix=f"It reads {', '.join(known)}.")


def _lists(inputs: Mapping[str, Any], name: str) -> list[list[Any]]:
    groups = inputs[name]
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise FeedbackError("must be a list with one list per prompt.", where=name)
    if [len(group) for group in groups] != [len(group) for group in inputs["responses"]]:
        raise FeedbackError("has other group sizes than responses.", where=name)
    return groups


def _log_probs(name: str, values: Any, *, gradient: bool) -> LogProbs:
    if not isinstance(values, list) or not values:
        raise FeedbackError("must be a list with one entry per response.", where=name)
    tokens = isinstance(values[0], list)
    if any(isinstance(value, list) != tokens for value in values):
        raise FeedbackError("mixes sums and lists of token log-probabilities; give one or the other.", where=name)
    lists = values if tokens else [[value] for value in values]
    for i, numbers in enumerate(lists):
        if not numbers:
            raise FeedbackError("the response is empty.", where=f"{name}[{i}]")
        for number in numbers:
            _finite(number, f"{name}[{i}]")
    flat = torch.tensor([number for numbers in lists for number in numbers], dtype=torch.float64)
    return LogProbs(name, flat.requires_grad_(gradient), [len(numbers) for numbers in lists], tokens)


def _responses(logps: LogProbs, ref: LogProbs | None, lengths: Tensor | None) -> Responses:
    if ref is not None and (ref.counts != logps.counts or ref.tokens != logps.tokens):
        raise FeedbackError("must have the same shape as the policy's log-probabilities.", where=ref.name)
    counts = torch.tensor(logps.counts)
    if logps.tokens:
        if lengths is not None and not torch.equal(lengths.long(), counts):
            raise FeedbackError("the lengths disagree with the lists of token log-probabilities.", where=logps.name)
        length = counts
    else:
        length = torch.zeros_like(counts) if lengths is None else lengths.long()
        if lengths is not None and (length < 1).any():
            raise FeedbackError("a length is below 1.", where=logps.name)
    return Responses(
        logp=logps.flat,
        index=torch.repeat_interleave(torch.arange(len(counts)), counts),
        weight=torch.ones_like(logps.flat),
        length=length,
        ref_logp=None if ref is None else ref.flat,
    )


def _column(inputs: Mapping[str, Any], name: str, n: int) -> Tensor | None:
    """An optional list of `n` numbers."""
    if name not in inputs:
        return None
    values = inputs[name]
    if not isinstance(values, list) or len(values) != n:
        raise FeedbackError(f"must be a list of {n} numbers.", where=name)
    for i, value in enumerate(values):
        _finite(value, f"{name}[{i}]")
    return torch.tensor(values, dtype=torch.float64)


def _labels(values: Any, n: int) -> Tensor:
    if not isinstance(values, list) or len(values) != n or not all(isinstance(value, bool) for value in values):
        raise FeedbackError(f"must be a list of {n} true or false.", where="labels")
    return torch.tensor(values)


def _finite(value: Any, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FeedbackError(f"must be a finite number, found {value!r}.", where=where)


def _regroup(values: list[Any], groups: list[int] | None) -> list[Any]:
    if groups is None:
        return values
    rest = iter(values)
    return [[next(rest) for _ in range(size)] for size in groups]
