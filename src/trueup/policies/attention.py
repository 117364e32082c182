"""Attention over a flat stream of rows, behind Transformers' attention interface; no model class is patched.

A row is a prompt with its responses behind it. The prompt attends causally to itself, each response to the prompt and
to itself. Every model whose attention goes through `AttentionInterface` can be switched to `NAME`; its forward is then
given `rows=` (a `Stream`), which travels to each attention layer. Without `rows` it attends as the stock model does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "trueup_rows"

Layout = tuple[tuple[int, int, tuple[int, ...]], ...]

# Padding a bucket may waste, in query-key products: about what one more kernel call costs on a CPU.
SLACK = 4096

_streaming: ContextVar[bool] = ContextVar("trueup_streaming", default=False)


class Form(NamedTuple):
    """What a layer asks of attention: score scale, sliding window, soft cap of the scores, sink logits [H]."""

    scale: float
    window: int | None = None
    cap: float | None = None
    sinks: Tensor | None = None


class Stream(Protocol):
    """What a forward is given as `rows`: the way its tokens attend to one another."""

    def attend(self, layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
        """Attention of one layer: query [B, H, L, D], key and value [B, K, L, D] to output [B, L, H, Dv]."""
        ...


@contextmanager
def streaming() -> Iterator[None]:
    """Around a forward that is given `rows`: the model then builds no attention mask of its own."""
    token = _streaming.set(True)
    try:
        yield
    finally:
        _streaming.reset(token)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, form: Form) -> Tensor:
    """Attention of query [B, H, Q, D] to key, value [B, K, S, D] under an additive `mask` [B, 1, Q, S]: [B, H, Q, Dv].

    Without a mask it is causal. Soft-capping and sinks are written out, since no stock kernel knows them.
    """
    groups = query.shape[1] // key.shape[1]
    if form.cap is None and form.sinks is None:
        if groups > 1 and mask is not None and query.is_cuda:
            # CUDA's masked kernels know no grouped heads and would fall back to the slow one.
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
            groups = 1
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=form.scale, enable_gqa=groups > 1
        )
    if mask is None:
        mask = _causal(query.shape[2], key.shape[2], query)
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = softmax(cap(query @ key.transpose(2, 3) * form.scale, form) + mask, form.sinks)
    return weights.to(value.dtype) @ value


def cap(scores: Tensor, form: Form) -> Tensor:
    """Attention scores after the layer's soft cap, if it has one."""
    return scores if form.cap is None else torch.tanh(scores / form.cap) * form.cap


def softmax(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """Attention weights of scores [B, H, Q, S] in float32 or wider; a sink takes its share and gives nothing."""
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if sinks is None:
        return scores.softmax(-1)
    sink = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    return torch.cat([scores, sink], -1).softmax(-1)[..., :-1]


def _causal(queries: int, keys: int, like: Tensor) -> Tensor:
    hidden = torch.ones(queries, keys, dtype=torch.bool, device=like.device).triu(keys - queries + 1)
    return like.new_zeros(1, 1, queries, keys).masked_fill(hidden, -torch.inf)


@dataclass(frozen=True)
class Bucket:
    """Runs of tokens of similar size, attended to in one call.

    `queries` [B, Q] and `keys` [B, S] are places in the stream (padding points at place 0), `ours` [B, Q] tells
    queries from padding; `here` [B, Q] and `there` [B, S] are their positions. `allowed` [B, Q, S] says which keys a
    query sees (None: causal, and padding comes last); `span` is how far the farthest key lies behind.
    """

    queries: np.ndarray
    keys: np.ndarray
    ours: np.ndarray
    here: np.ndarray
    there: np.ndarray
    allowed: np.ndarray | None
    span: int

    def mask(self, window: int | None) -> np.ndarray | None:
        """Who sees whom [B, Q, S], with a sliding window if there is one; None: causal."""
        if window is None or self.span < window:
            return self.allowed
        distance = self.here[:, :, None] - self.there[:, None, :]
        near = (distance >= 0) & (distance < window)
        return near if self.allowed is None else near & self.allowed


class Rows:
    """A flat stream of rows: who attends to whom, prepared once and used in every layer.

    The prompt and the first response of a row are one causal run (a trunk); each further response is a branch whose
    keys are the prompt's and its own. Runs of similar length are padded into a bucket. `windows` collects the sliding
    windows that the layers asked for.
    """

    def __init__(self, layout: Layout, device: torch.device | str = "cpu") -> None:
        self.windows: set[int] = set()
        self._masks: dict[tuple[int, int | None, torch.dtype], Tensor | None] = {}
        trunks: list[tuple[int, int]] = []
        branches: list[tuple[int, int, int, int]] = []
        for start, prompt, lengths in layout:
            trunks.append((start, prompt + (lengths[0] if lengths else 0)))
            first = start + trunks[-1][1]
            for length in lengths[1:]:
                branches.append((start, prompt, first, length))
                first += length
        self.buckets = [_trunks(*columns) for columns in _bucketed(trunks, lambda t: (t[1], t[1]))]
        self.buckets += [_branches(*columns) for columns in _bucketed(branches, lambda b: (b[3], b[1] + b[3]))]
        # Where each token's output stands among the outputs of all buckets.
        place = np.zeros(sum(prompt + sum(lengths) for _, prompt, lengths in layout), dtype=np.int64)
        first = 0
        for bucket in self.buckets:
            place[bucket.queries[bucket.ours]] = first + np.flatnonzero(bucket.ours)
            first += bucket.ours.size
        self.device = torch.device(device)
        self.place = torch.from_numpy(place).to(device)
        self.queries = [torch.from_numpy(bucket.queries.ravel()).to(device) for bucket in self.buckets]
        self.keys = [torch.from_numpy(bucket.keys.ravel()).to(device) for bucket in self.buckets]

    def attend(self, layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
        """See `Stream`; B is 1 and L the whole stream."""
        if form.window is not None:
            self.windows.add(form.window)
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        outputs = []
        for number, (queries, keys) in enumerate(zip(self.queries, self.keys, strict=True)):
            batch = len(self.buckets[number].queries)
            q = query.index_select(0, queries).unflatten(0, (batch, -1)).transpose(1, 2)
            k = key.index_select(0, keys).unflatten(0, (batch, -1)).transpose(1, 2)
            v = value.index_select(0, keys).unflatten(0, (batch, -1)).transpose(1, 2)
            mask = self._mask(number, form.window, query.dtype)
            outputs.append(attend(q, k, v, mask, form).transpose(1, 2).flatten(0, 1))
        return torch.cat(outputs).index_select(0, self.place)[None]

    def _mask(self, number: int, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """The additive mask [B, 1, Q, S] of a bucket, made once for all layers of one kind."""
        what = (number, window, dtype)
        if what not in self._masks:
            seen = self.buckets[number].mask(window)
            mask = None
            if seen is not None:
                hidden = torch.from_numpy(~seen[:, None]).to(self.device)
                mask = torch.zeros(hidden.shape, dtype=dtype, device=self.device).masked_fill(hidden, -torch.inf)
            self._masks[what] = mask
        return self._masks[what]


def _bucketed(runs: list[Any], sides: Any) -> Iterator[list[np.ndarray]]:
    """Cuts runs into buckets of similar (queries, keys), longest first; yields each bucket's columns."""
    waiting: list[Any] = []
    used = queries = keys = 0
    for run in sorted(runs, key=lambda run: sum(sides(run)), reverse=True):
        q, k = sides(run)
        wide, tall = max(queries, q), max(keys, k)
        if waiting and (len(waiting) + 1) * wide * tall - used - q * k > SLACK:
            yield [np.array(column) for column in zip(*waiting, strict=True)]
            waiting, used, wide, tall = [], 0, q, k
        waiting.append(run)
        used, queries, keys = used + q * k, wide, tall
    if waiting:
        yield [np.array(column) for column in zip(*waiting, strict=True)]


def _trunks(starts: np.ndarray, lengths: np.ndarray) -> Bucket:
    steps = np.arange(int(lengths.max()))
    ours = steps < lengths[:, None]
    places = np.where(ours, starts[:, None] + steps, 0)
    positions = steps[None]
    return Bucket(places, places, ours, positions, positions, None, len(steps) - 1)


def _branches(starts: np.ndarray, prompts: np.ndarray, firsts: np.ndarray, lengths: np.ndarray) -> Bucket:
    before, steps = np.arange(int(prompts.max())), np.arange(int(lengths.max()))
    shown, ours = before < prompts[:, None], steps < lengths[:, None]
    queries = np.where(ours, firsts[:, None] + steps, 0)
    keys = np.concatenate([np.where(shown, starts[:, None] + before, 0), queries], 1)
    own = np.broadcast_to(steps[:, None] >= steps, (len(starts), len(steps), len(steps)))
    allowed = np.concatenate([np.repeat(shown[:, None], len(steps), 1), own], 2)
    here = prompts[:, None] + steps
    there = np.concatenate([np.broadcast_to(before, shown.shape), here], 1)
    return Bucket(queries, keys, ours, here, there, allowed, int((prompts + lengths).max()) - 1)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    rows: Stream | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function that Transformers calls in place of its own kernels."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    form = Form(scale, sliding_window or None, softcap, s_aux)
    if rows is not None:
        if dropout:
            raise ValueError("attention dropout is not exact where a prompt is shared; set it to zero")
        return rows.attend(module, query, key, value, form), None
    if softcap is None and s_aux is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    mask = None
    if attention_mask is not None:
        # Not -inf: left padding sees nothing at all, and must not become NaN.
        lowest = torch.finfo(query.dtype).min
        mask = query.new_zeros(attention_mask.shape).masked_fill(~attention_mask, lowest)
    return attend(query, key, value, mask, form).transpose(1, 2).contiguous(), None


def _attention_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    return None if _streaming.get() else sdpa_mask(*args, **kwargs)


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _attention_mask)
