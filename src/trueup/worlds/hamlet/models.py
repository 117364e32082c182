"""The models of hamlet: shapes, and the blueprints from which they are trained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Literal

from transformers import LlamaConfig

from trueup.errors import ModelError
from trueup.feedback.records import Demonstration
from trueup.policies.blueprint import Blueprint
from trueup.worlds.hamlet.reading import reading
from trueup.worlds.hamlet.tokenizer import tokenizer, vocabulary
from trueup.worlds.hamlet.world import VERSION, World

Size = Literal["hamlet-nano", "hamlet", "hamlet-large"]
CONTEXT = 256


@dataclass(frozen=True)
class Shape:
    """Width, depth, heads and width of the feed-forward layers, and how long and fast the model learns.

    Few layers and many heads: at this size they learn the village's facts in the fewest tokens.
    """

    hidden: int
    layers: int
    heads: int
    inner: int
    examples: int
    epochs: float
    learning_rate: float


SHAPES: dict[str, Shape] = {
    "hamlet-nano": Shape(80, 2, 8, 256, examples=44_500, epochs=1, learning_rate=3e-3),
    "hamlet": Shape(176, 2, 8, 704, examples=44_500, epochs=1, learning_rate=2e-3),
    "hamlet-large": Shape(320, 4, 16, 960, examples=44_500, epochs=1, learning_rate=1e-3),
}


def config(size: Size = "hamlet") -> LlamaConfig:
    """The configuration of a hamlet model: about 0.2, 1 and 5 million parameters, the embedding tied to the head.

    Raises:
        ModelError: there is no such size.
    """
    shape = _shape(size)
    return LlamaConfig(
        vocab_size=len(vocabulary()),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.06,  # small models learn faster from larger first weights than the usual 0.02
        pad_token_id=vocabulary().index("<pad>"),
        bos_token_id=vocabulary().index("<s>"),
        eos_token_id=vocabulary().index("</s>"),
    )


def blueprint(size: Size = "hamlet", seed: int = 0) -> Blueprint:
    """How to train the base model of the world of this seed: capable, and visibly not aligned.

    Raises:
        ModelError: there is no such size.
    """
    shape = _shape(size)
    read = partial(reading, World(seed), shape.examples)
    return Blueprint(
        name=size,
        key={"world": VERSION, "seed": seed, "reading": _digest(read())},
        config=config(size),
        tokenizer=tokenizer,
        demonstrations=read,
        settings={
            "epochs": shape.epochs,
            "batch_size": 16,
            "learning_rate": shape.learning_rate,
            "schedule": "cosine",
            "warmup": 0.05,
            "weight_decay": 0.01,
            "betas": (0.9, 0.98),
            "precision": "float32",
            "seed": seed,
        },
    )


def _shape(size: str) -> Shape:
    if size not in SHAPES:
        raise ModelError(f"there is no hamlet model {size!r}.", fix=f"Known: {', '.join(SHAPES)}.")
    return SHAPES[size]


def _digest(records: list[Demonstration]) -> str:
    """A hash of everything read and of the vocabulary, so that no change to the world can meet an old model."""
    whole = hashlib.sha256(" ".join(vocabulary()).encode())
    for record in records:
        whole.update(f"{record.prompt}\n{record.response}\n".encode())
    return whole.hexdigest()
