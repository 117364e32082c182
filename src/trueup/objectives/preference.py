"""Objectives that read pairs."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import logsigmoid

from trueup.catalog import method
from trueup.objectives.base import Loss, Objective
from trueup.policies.responses import Pairs


@method("dpo", title="Direct Preference Optimization", arxiv="2305.18290", kind="objective")
@dataclass(frozen=True)
class DPO(Objective[Pairs]):
    """-log sigmoid(beta * (chosen log-ratio - rejected log-ratio)) (Rafailov et al. 2023, equation 7).

    Log-ratios are summed over response tokens. `beta` is the strength of the KL constraint: smaller moves
    further from the reference.
    """

    beta: float = 0.1

    def __call__(self, pairs: Pairs) -> Loss:
        chosen, rejected = pairs.chosen.logratio, pairs.rejected.logratio
        margin = self.beta * (chosen - rejected)
        return Loss(
            -logsigmoid(margin),
            reward_margin=margin,
            reward_accuracy=(margin > 0).to(margin.dtype),
            chosen_logratio=chosen,
            rejected_logratio=rejected,
        )
