"""Text to tokens and back, without any special token that was not asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from trueup.errors import ModelError

Offsets = list[tuple[int, int]]


class Encoder:
    """A tokenizer that adds nothing: `markup` reads special tokens written in the text, `plain` takes them as text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.backend: Any = getattr(tokenizer, "backend_tokenizer", None) if tokenizer.is_fast else None
        added = tokenizer.added_tokens_decoder
        self.special = frozenset(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}
        self.special_texts = tuple(str(tokenizer.convert_ids_to_tokens(i)) for i in sorted(self.special))

    def markup(self, text: str) -> list[int]:
        """Token ids of template text, in which special tokens stand for themselves."""
        return self._encode(text, split_special=False)[0]

    def plain(self, text: str, *, after: str = "") -> tuple[list[int], Offsets | None]:
        """Token ids of `text` as they follow the text `after`, and their character spans in `text`.

        Special tokens written in the text are taken as plain characters. Where the tokens of `after` would change,
        `text` is encoded by itself. Spans are None when the tokenizer cannot tell them.
        """
        if after:
            context, _ = self._encode(after, split_special=True)
            ids, offsets = self._encode(after + text, split_special=True)
            if ids[: len(context)] == context:
                shift = len(after)
                spans = [(max(a - shift, 0), b - shift) for a, b in offsets[len(context) :]] if offsets else None
                return ids[len(context) :], spans
        return self._encode(text, split_special=True)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens`, special tokens left out."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def _encode(self, text: str, *, split_special: bool) -> tuple[list[int], Offsets | None]:
        if self.backend is None:
            found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=split_special)
            return list(found["input_ids"]), None
        # The backend keeps the settings of whoever called the tokenizer last.
        if self.backend.truncation is not None:
            self.backend.no_truncation()
        if self.backend.padding is not None:
            self.backend.no_padding()
        if self.backend.encode_special_tokens != split_special:
            self.backend.encode_special_tokens = split_special
        encoding = self.backend.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets


def stop_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the end-of-sequence token.

    Raises:
        ModelError: the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            "the tokenizer has no end-of-sequence token, so no response could end.",
            fix="Set tokenizer.eos_token to the token that ends a response.",
        )
    return int(tokenizer.eos_token_id)
