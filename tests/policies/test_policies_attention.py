"""Attention over a flat stream against one dense mask written from the definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trueup.policies.attention import Form, Layout, Rows
from trueup.policies.packing import Row, pack

SHAPES = [
    [(4, (3, 5)), (9, (1,)), (1, (2, 2, 7))],
    [(6, ())],
    [(1, (1,)), (1, (1, 1))],
    [(70, (40, 90)), (5, (4, 6)), (6, (3, 5)), (80, (20, 60, 1)), (7, (2, 2)), (3, ())],
]


def layout_of(shape: list[tuple[int, tuple[int, ...]]]) -> tuple[Layout, Tensor]:
    packed = pack([Row([0] * prompt, [[0] * n for n in lengths]) for prompt, lengths in shape])
    return packed.layout, packed.position_ids[0]


def sees(layout: Layout, positions: Tensor, window: int | None) -> Tensor:
    """[T, T]: whether token i sees token j, from the definition."""
    total = len(positions)
    row, part = torch.zeros(total, dtype=torch.long), torch.zeros(total, dtype=torch.long)
    for number, (start, prompt, lengths) in enumerate(layout):
        row[start : start + prompt + sum(lengths)] = number
        first = start + prompt
        for i, length in enumerate(lengths):
            part[first : first + length] = i + 1
            first += length
    same = (row[:, None] == row) & ((part == 0) | (part[:, None] == part))
    behind = positions[:, None] - positions
    return same & (behind >= 0) & (behind < (window or total + 1))


def dense(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, form: Form) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * form.scale
    if form.cap:
        scores = form.cap * torch.tanh(scores / form.cap)
    weights = scores.masked_fill(~seen, -torch.inf).exp()
    total = weights.sum(-1, keepdim=True)
    if form.sinks is not None:
        total = total + form.sinks.view(1, -1, 1, 1).exp()
    return (weights / total @ value).transpose(1, 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [None, 1, 4, 50])
@pytest.mark.parametrize("kind", ["stock", "cap", "sinks"])
def test_equals_a_dense_mask_forward_and_backward(
    shape: list[tuple[int, tuple[int, ...]]], window: int | None, kind: str
) -> None:
    layout, positions = layout_of(shape)
    generator = torch.Generator().manual_seed(0)

    def random(*sizes: int) -> Tensor:
        return torch.randn(*sizes, generator=generator, dtype=torch.float64).requires_grad_()

    total = len(positions)
    # The value's size differs from the key's, as in some models.
    inputs = random(1, 4, total, 8), random(1, 2, total, 8), random(1, 2, total, 6)
    form = Form(0.4, window, 1.5 if kind == "cap" else None, random(4) if kind == "sinks" else None)
    wanted = dense(*inputs, sees(layout, positions, window), form)
    found = Rows(layout).attend(nn.Identity(), *inputs, form)
    torch.testing.assert_close(found, wanted)
    output = random(*wanted.shape).detach()
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, output), torch.autograd.grad(wanted, inputs, output), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_rows_of_similar_length_share_a_call() -> None:
    layout, _ = layout_of([(10 + i % 3, (5, 6 + i % 2)) for i in range(60)])
    assert len(Rows(layout).buckets) <= 4
    layout, _ = layout_of([(400, (100, 100)), (10, (10, 10))])
    assert len(Rows(layout).buckets) == 4


def test_the_windows_asked_for_are_remembered() -> None:
    rows = Rows(layout_of([(3, (2,))])[0])
    x = torch.zeros(1, 1, 5, 4)
    rows.attend(nn.Identity(), x, x, x, Form(1.0, 7))
    assert rows.windows == {7}
