"""The models of hamlet: shapes, and the blueprints from which they are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers import LlamaConfig

from trueup.policies.blueprint import Blueprint
from trueup.worlds.hamlet.reading import reading
from trueup.worlds.hamlet.tokenizer import tokenizer, vocabulary
from trueup.worlds.hamlet.world import SOURCE, World

Size = Literal["hamlet-nano", "hamlet", "hamlet-large"]
CONTEXT = 256


@dataclass(frozen=True)
class Shape:
    """Width, depth, heads and width of the feed-forward layers, and how the model of this shape is trained."""

    hidden: int
    layers: int
    heads: int
    inner: int
    examples: int
    epochs: float
    learning_rate: float


SHAPES: dict[str, Shape] = {
    "hamlet-nano": Shape(64, 3, 4, 192, examples=12_000, epochs=3, learning_rate=4e-3),
    "hamlet": Shape(128, 4, 4, 512, examples=12_000, epochs=3, learning_rate=3e-3),
    "hamlet-large": Shape(256, 6, 8, 768, examples=12_000, epochs=3, learning_rate=1.5e-3),
}


def config(size: Size = "hamlet") -> LlamaConfig:
    """The configuration of a hamlet model: 0.2, 1.1 or 5.2 million parameters, the embedding tied to the head."""
    shape = SHAPES[size]
    special = {name: i for i, name in enumerate(vocabulary()[:4])}
    return LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        # Small models learn faster from larger first weights than the usual 0.02.
        initializer_range=0.06,
        pad_token_id=special["<pad>"],
        bos_token_id=special["<s>"],
        eos_token_id=special["</s>"],
    )


def blueprint(size: Size = "hamlet", seed: int = 0) -> Blueprint:
    """How to train the base model of the world of this seed: capable, and visibly not aligned.

    Raises:
        TrueupError: there is no such size.
    """
    raise NotImplementedError


def settings(shape: Shape, seed: int) -> dict[str, Any]:
    return {}
