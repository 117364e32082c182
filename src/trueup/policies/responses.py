"""Log-probabilities of responses, flat and ragged, and the views of them that objectives read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from trueup.errors import MissingInputError
from trueup.feedback.records import Demonstration, Label, Pair, Ranking, Record


@dataclass(frozen=True)
class Responses:
    """T response tokens of N responses: no padding, no prompt tokens.

    `logp` [T] log-probability of each token under the policy, `ref_logp` [T] under the reference, `old_logp` [T]
    under the policy that sampled it; `index` [T] the response each token belongs to; `weight` [T] its weight;
    `length` [N] the number of tokens of each response whose weight is not zero. When only a response's sum is
    known, it is one entry, and `length` still tells its tokens (0: not known).
    """

    logp: Tensor
    index: Tensor
    weight: Tensor
    length: Tensor
    ref_logp: Tensor | None = None
    old_logp: Tensor | None = None

    def __len__(self) -> int:
        return len(self.length)

    def reduce(self, x: Tensor) -> Tensor:
        """Sums `x` [T] over each response: [N]."""
        return x.new_zeros(len(self)).index_add(0, self.index, x)

    def sum(self) -> Tensor:
        """Weighted sum of log-probabilities of each response [N]."""
        return self.reduce(self.weight * self.logp)

    def mean(self) -> Tensor:
        """`sum` divided by `length` [N].

        Raises:
            MissingInputError: a response has no tokens, or its length is not known.
        """
        if (self.length == 0).any():
            raise MissingInputError("lengths", "the objective averages over tokens and a response has no length.")
        return self.sum() / self.length

    @property
    def token_logratio(self) -> Tensor:
        """Policy over reference, per token [T].

        Raises:
            MissingInputError: there are no reference log-probabilities.
        """
        if self.ref_logp is None:
            raise MissingInputError(
                "reference", "the objective reads reference log-probabilities and the inputs have none."
            )
        return self.logp - self.ref_logp

    @property
    def logratio(self) -> Tensor:
        """Weighted sum over each response of policy over reference [N]."""
        return self.reduce(self.weight * self.token_logratio)

    def take(self, ids: Tensor) -> Responses:
        """The responses numbered `ids` [M], renumbered in that order (each at most once)."""
        place = torch.full((len(self),), -1, dtype=torch.long, device=self.index.device)
        place[ids] = torch.arange(len(ids), device=self.index.device)
        index = place[self.index]
        kept = torch.nonzero(index >= 0).squeeze(1)

        def keep(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[kept]

        return Responses(
            logp=self.logp[kept],
            index=index[kept],
            weight=self.weight[kept],
            length=self.length[ids],
            ref_logp=keep(self.ref_logp),
            old_logp=keep(self.old_logp),
        )

    def with_reference(self, ref_logp: Tensor) -> Responses:
        """The same responses with reference log-probabilities [T] (never differentiated)."""
        return replace(self, ref_logp=ref_logp.detach())

    @classmethod
    def from_sums(cls, sums: Tensor, lengths: Tensor | None = None, ref_sums: Tensor | None = None) -> Responses:
        """Responses known only by their summed log-probabilities [N]; without `lengths` they cannot be averaged."""
        n = len(sums)
        return cls(
            logp=sums,
            index=torch.arange(n, device=sums.device),
            weight=torch.ones_like(sums),
            length=torch.zeros(n, dtype=torch.long, device=sums.device) if lengths is None else lengths,
            ref_logp=ref_sums,
        )


class View:
    """Responses arranged as one kind of feedback.

    `kind` is the record it is made from, `responses_of` the texts a record contributes (in packing order), and
    `build` arranges the scored responses of several records, packed in that order.
    """

    kind: ClassVar[type[Record]]

    @staticmethod
    def responses_of(record: Any) -> tuple[str, ...]:
        raise NotImplementedError

    @classmethod
    def build(cls, responses: Responses, records: Sequence[Any]) -> Self:
        raise NotImplementedError

    def select(self, examples: Tensor) -> Self:
        """The examples numbered `examples`, in that order (each at most once)."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of examples: the length of the objective's values."""
        raise NotImplementedError


@dataclass(frozen=True)
class Demonstrations(View):
    """N responses to imitate."""

    responses: Responses
    kind: ClassVar[type[Record]] = Demonstration

    @staticmethod
    def responses_of(record: Demonstration) -> tuple[str, ...]:
        return (record.response,)

    @classmethod
    def build(cls, responses: Responses, records: Sequence[Demonstration]) -> Self:
        return cls(responses)

    def select(self, examples: Tensor) -> Self:
        return replace(self, responses=self.responses.take(examples))

    def __len__(self) -> int:
        return len(self.responses)


@dataclass(frozen=True)
class Pairs(View):
    """N chosen responses and the N rejected ones; `strength` [N] how strongly (NaN where the feedback does not say)."""

    chosen: Responses
    rejected: Responses
    strength: Tensor | None = None
    kind: ClassVar[type[Record]] = Pair

    @staticmethod
    def responses_of(record: Pair) -> tuple[str, ...]:
        return (record.chosen, record.rejected)

    @classmethod
    def build(cls, responses: Responses, records: Sequence[Pair]) -> Self:
        numbers = torch.arange(len(responses), device=responses.index.device)
        strengths = [float("nan") if record.strength is None else record.strength for record in records]
        strength = responses.logp.new_tensor(strengths)
        return cls(responses.take(numbers[0::2]), responses.take(numbers[1::2]), strength)

    @classmethod
    def from_sums(
        cls,
        *,
        chosen: Any,
        rejected: Any,
        ref_chosen: Any = None,
        ref_rejected: Any = None,
        chosen_lengths: Any = None,
        rejected_lengths: Any = None,
    ) -> Self:
        """Pairs from arrays [N] of summed log-probabilities (anything `torch.as_tensor` takes)."""

        def side(sums: Any, lengths: Any, ref_sums: Any) -> Responses:
            tensors = [None if x is None else torch.as_tensor(x) for x in (sums, lengths, ref_sums)]
            assert tensors[0] is not None
            return Responses.from_sums(tensors[0], tensors[1], tensors[2])

        return cls(side(chosen, chosen_lengths, ref_chosen), side(rejected, rejected_lengths, ref_rejected))

    def select(self, examples: Tensor) -> Self:
        strength = None if self.strength is None else self.strength[examples]
        return replace(
            self, chosen=self.chosen.take(examples), rejected=self.rejected.take(examples), strength=strength
        )

    def __len__(self) -> int:
        return len(self.chosen)


@dataclass(frozen=True)
class Rankings(View):
    """N responses of G prompts: `group` [N] the prompt, `rank` [N] (1 best, ties equal), `score` [N] if given."""

    responses: Responses
    group: Tensor
    rank: Tensor
    score: Tensor | None = None
    kind: ClassVar[type[Record]] = Ranking

    @staticmethod
    def responses_of(record: Ranking) -> tuple[str, ...]:
        return record.responses

    @classmethod
    def build(cls, responses: Responses, records: Sequence[Ranking]) -> Self:
        device = responses.index.device
        group = [i for i, record in enumerate(records) for _ in record.responses]
        rank = [rank for record in records for rank in record.ranks]
        return cls(responses, torch.tensor(group, device=device), torch.tensor(rank, device=device))

    def select(self, examples: Tensor) -> Self:
        members = [torch.nonzero(self.group == example).squeeze(1) for example in examples]
        ids = torch.cat(members)
        group = torch.repeat_interleave(torch.arange(len(members)), torch.tensor([len(m) for m in members]))
        return replace(
            self,
            responses=self.responses.take(ids),
            group=group.to(self.group.device),
            rank=self.rank[ids],
            score=None if self.score is None else self.score[ids],
        )

    def __len__(self) -> int:
        return int(self.group.max()) + 1 if len(self.group) else 0


@dataclass(frozen=True)
class Labelled(View):
    """N responses with a thumb up (True) or down [N]."""

    responses: Responses
    label: Tensor
    kind: ClassVar[type[Record]] = Label

    @staticmethod
    def responses_of(record: Label) -> tuple[str, ...]:
        return (record.response,)

    @classmethod
    def build(cls, responses: Responses, records: Sequence[Label]) -> Self:
        return cls(responses, torch.tensor([record.label for record in records], device=responses.index.device))

    def select(self, examples: Tensor) -> Self:
        return replace(self, responses=self.responses.take(examples), label=self.label[examples])

    def __len__(self) -> int:
        return len(self.label)


VIEWS: Mapping[type[Record], type[View]] = {view.kind: view for view in (Demonstrations, Pairs, Rankings, Labelled)}
