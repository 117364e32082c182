"""How a conversation becomes text: the tokenizer's chat template, checked, or a plain format where there is none.

Either way a response is cut from its prompt exactly where sampling starts, so that what is scored is what is sampled.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Protocol

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from trueup.errors import ModelError
from trueup.feedback.records import Message, Prompt
from trueup.policies.encoding import Encoder, stop_token

log = logging.getLogger("trueup")

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE: Prompt = [{"role": "user", "content": "Which day is it?"}]
_OTHER_PROBE: Prompt = [{"role": "user", "content": "0"}]
_ANSWER = "Zq7"


class Format(Protocol):
    """Prompts and responses as text.

    `lead` stands between the prompt and the words of the response, `tail` between them and the stop token `stop`;
    both are part of the response. `context` is how every prompt ends (the response's first token is formed
    against it). `begin` is the token id every prompt starts with, beyond what its text says.
    """

    lead: str
    tail: str
    stop: int
    context: str
    begin: list[int]

    def prompt(self, prompt: Prompt) -> str:
        """The text before the response."""
        ...

    def words(self, prompt: Prompt, before: str, response: str) -> tuple[str, str]:
        """The lead and the words of `response` behind the prompt's text `before`.

        Raises:
            ModelError: the format would change the response.
        """
        ...


class PlainFormat:
    """For base models: a message is a paragraph `User: ...`, the response follows `Assistant:`, then the stop token."""

    lead = " "
    tail = ""
    context = "Assistant:"

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.stop = stop_token(tokenizer)
        self.begin = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]

    def prompt(self, prompt: Prompt) -> str:
        return plain_text(prompt)

    def words(self, prompt: Prompt, before: str, response: str) -> tuple[str, str]:
        # A response that brings its own white space keeps it, rather than getting more.
        return ("" if response[:1].isspace() else self.lead), response


class ChatFormat:
    """The tokenizer's chat template, after checking on an example that it tells prompt from response exactly.

    Raises:
        ModelError: it does not: the rendered prompt is not the beginning of the rendered conversation, or nothing
            says where the assistant's part begins.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, encoder: Encoder) -> None:
        self.tokenizer = tokenizer
        self.begin: list[int] = []
        self.header = ""
        before = self._render(_PROBE, generate=True)
        whole = self._render([*_PROBE, _answer(_ANSWER)])
        if not whole.startswith(before) or _ANSWER not in whole[len(before) :]:
            raise _no_marks("the rendered prompt is not the beginning of the rendered conversation")
        lead, behind = whole[len(before) :].split(_ANSWER, 1)
        if _MARKS.search(tokenizer.get_chat_template()):
            self.header, lead = self._compare_marks(before, lead)
        elif lead.strip() and before == self._render(_PROBE):
            raise _no_marks(f"add_generation_prompt changes nothing and {lead.strip()!r} would count as response")
        self.lead = lead
        self.tail, self.stop = _ending(behind, encoder, tokenizer)
        self.behind = behind
        self.context = _common_end(self.prompt(_PROBE), self.prompt(_OTHER_PROBE))
        ids = encoder.markup(before)
        if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
            raise ModelError("the chat template begins with two beginning-of-sequence tokens.", where="chat_template")

    def prompt(self, prompt: Prompt) -> str:
        return self._render(prompt, generate=True) + self.header

    def words(self, prompt: Prompt, before: str, response: str) -> tuple[str, str]:
        whole = self._render([*prompt, _answer(response)])
        if not whole.startswith(before):
            raise _no_marks("the rendered prompt is not the beginning of the rendered conversation")
        rendered = whole[len(before) :]
        if rendered.endswith(self.behind):
            rendered = rendered[: len(rendered) - len(self.behind)]
            # A template may trim the response, or drop its lead where the response brings one (reasoning blocks).
            for lead in (self.lead, ""):
                words = rendered[len(lead) :]
                if rendered.startswith(lead) and words in response and words.strip() == response.strip():
                    return lead, words
        raise ModelError(
            f"the chat template rewrites the response {_short(response)} to {_short(rendered)}.",
            fix="Give a template that keeps the assistant's words.",
        )

    def _render(self, messages: Prompt, *, generate: bool = False) -> str:
        plain: Any = [{**message, "content": text_content(message)} for message in messages]
        try:
            return self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=generate)
        except (TemplateError, TypeError, KeyError) as error:
            raise ModelError(f"the chat template refuses the conversation: {error}", where="chat_template") from error

    def _compare_marks(self, before: str, lead: str) -> tuple[str, str]:
        """What the template's generation marks say: text that belongs to the prompt's end, and the lead left."""
        try:
            marked = self.tokenizer.apply_chat_template(
                [*_PROBE, _answer(_ANSWER)],
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
                tokenizer_kwargs={"return_offsets_mapping": True},
            )
        except (TemplateError, ValueError, NotImplementedError) as error:
            raise _no_marks(f"its generation marks cannot be read ({error})") from error
        spans = [span for span, mine in zip(marked["offset_mapping"], marked["assistant_masks"], strict=True) if mine]
        if not spans:
            raise _no_marks("its generation marks mark nothing")
        first, answer = spans[0][0], len(before) + len(lead)
        if first > answer:
            raise _no_marks("its generation marks begin inside the response")
        if spans[-1][1] <= answer + len(_ANSWER):
            log.warning("The chat template's generation marks leave out the stop token; it is trained all the same.")
        header = lead[: max(first - len(before), 0)]
        # White space stays with the response: tokens are formed from it and the first word together.
        header = header[: len(header.rstrip())] if header.strip() else ""
        return header, lead[len(header) :]


def format_of(tokenizer: PreTrainedTokenizerBase, encoder: Encoder) -> Format:
    """The tokenizer's chat template if it has one, else the plain format."""
    return ChatFormat(tokenizer, encoder) if tokenizer.chat_template else PlainFormat(tokenizer)


def plain_text(prompt: Prompt, response: str | None = None) -> str:
    """A conversation in the plain format, up to the response or with it."""
    paragraphs = [f"{message['role'].capitalize()}: {text_content(message)}\n\n" for message in prompt]
    before = "".join(paragraphs) + PlainFormat.context
    return before if response is None else before + PlainFormat.lead + response


def text_content(message: Message) -> str:
    """The text of a message.

    Raises:
        ModelError: it holds something that is not text.
    """
    content = message["content"]
    if isinstance(content, str):
        return content
    for part in content:
        if "text" not in part:
            raise ModelError(
                f"a {message['role']} message holds {part.get('type', 'a part')} and the model reads text."
            )
    return "".join(part["text"] for part in content)


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _ending(behind: str, encoder: Encoder, tokenizer: PreTrainedTokenizerBase) -> tuple[str, int]:
    """Text between the response's words and the stop token, and that token: the first special one behind them."""
    ids = encoder.markup(behind)
    for place, token in enumerate(ids):
        if token in encoder.special:
            text = str(tokenizer.convert_ids_to_tokens(token))
            return (behind.split(text, 1)[0] if place else ""), token
    return "", stop_token(tokenizer)


def _common_end(a: str, b: str) -> str:
    n = 0
    while n < min(len(a), len(b)) and a[-n - 1] == b[-n - 1]:
        n += 1
    return a[len(a) - n :]


def _no_marks(why: str) -> ModelError:
    return ModelError(
        f"this is a template without assistant marks: {why}, so prompt and response cannot be told apart exactly.",
        where="chat_template",
        fix="Put {% generation %} marks around the assistant's part, or honour add_generation_prompt.",
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
