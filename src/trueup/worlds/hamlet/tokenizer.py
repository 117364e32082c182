"""The tokenizer: one token a word of the closed vocabulary, and a chat template."""

from __future__ import annotations

import re
from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trueup.worlds.hamlet.families import FAMILIES
from trueup.worlds.hamlet.families.base import COMMON_FORMS
from trueup.worlds.hamlet.grammar import BECAUSE, OPENINGS, REASONS, tokens
from trueup.worlds.hamlet.words import CLASSES, PLURALS

SPECIAL = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
ROLES = ("<system>", "<user>", "<assistant>")

TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
<assistant>{%- generation -%}{{- message['content'] + eos_token -}}{%- endgeneration -%}
{%- elif message['role'] in ['system', 'user'] -%}
{{- '<' + message['role'] + '>' + message['content'] -}}
{%- else -%}
{{- raise_exception('hamlet knows the roles system, user and assistant') -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<assistant>{%- endif -%}
"""


@cache
def vocabulary() -> tuple[str, ...]:
    """Every token in order: special ones, then the words and marks of all that can be asked or said."""
    texts = [*OPENINGS, *REASONS, *PLURALS.values()]
    texts += [form.pattern for form in COMMON_FORMS]
    for family in FAMILIES.values():
        texts += [form.pattern for form in family.forms()]
        texts += [
            *family.wording,
            *(text for phrasings in family.asking for text in (*phrasings.train, *phrasings.test)),
        ]
    written = {word for text in texts for word in tokens(re.sub(r"\{[^}]*\}", " ", text))}
    classed = {word for words in CLASSES.values() for word in words}
    return (*SPECIAL.values(), *ROLES, *sorted(written | classed | {BECAUSE, ".", "?"}))


def tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer of every hamlet model, whatever the seed of its world; unknown words become `<unk>`."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token="<unk>"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(behavior="isolated")]
    )
    # Words are joined by spaces, and marks follow their word: "well, by the mill."
    marks = [decoders.Replace(f" {mark}", mark) for mark in ".,?"]
    backend.decoder = decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=False), *marks])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        additional_special_tokens=list(ROLES),
        chat_template=TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        **SPECIAL,
    )
