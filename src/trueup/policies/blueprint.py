"""A model that does not exist yet: what `trueup.training.scratch` needs to train it from random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerFast

from trueup.feedback.records import Demonstration


@dataclass(frozen=True)
class Blueprint:
    """How to make a model: its tokenizer, shape, reading matter and training settings.

    `key` is a JSON-able description that changes whenever the result would (a version, sizes, hashes of data); the
    trained model is cached under its hash. `demonstrations` yields the documents (empty prompt) and dialogues to
    read. `settings` holds fields of `trueup.training.Settings`.
    """

    name: str
    key: Mapping[str, Any]
    config: PretrainedConfig
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    demonstrations: Callable[[], list[Demonstration]]
    settings: Mapping[str, Any] = field(default_factory=dict)
