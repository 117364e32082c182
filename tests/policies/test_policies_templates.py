"""Conversations as text: the split between prompt and response is exact, and the stop token comes once."""

from __future__ import annotations

import logging

import pytest
from tiny_models import CHATML, build_model, build_tokenizer
from transformers import PreTrainedTokenizerFast

from trueup.errors import ModelError
from trueup.feedback.records import Prompt
from trueup.policies import Policy
from trueup.policies.packing import Row

PROMPT: Prompt = [{"role": "user", "content": "Who keeps the keys?"}]

# Headers, a trimmed message, generation marks that hold the stop token.
MARKED = (
    "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n\n' }}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] | trim + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m['content'] | trim + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n\n' }}{% endif %}"
)
# No generation prompt: only the marks say that the header is not the assistant's.
MARKED_ONLY = (
    "{% for m in messages %}{{ m['role'] + ': ' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% else %}{{ m['content'] + '\n' }}{% endif %}"
    "{% endfor %}"
)
# Instructions in brackets, a space on either side of the answer, the stop token behind it.
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[Q] ' + m['content'] + ' [A]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
# Every answer begins with an empty block of thought, unless it brings its own.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and '<think>' not in m['content'] %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {"chatml": CHATML, "marked": MARKED, "marked only": MARKED_ONLY, "brackets": BRACKETS, "plain": None}


def policy_with(template: str | None) -> Policy:
    return Policy(build_model("llama"), build_tokenizer(template))


def texts(policy: Policy, row: Row) -> tuple[str, list[str]]:
    return policy.tokenizer.decode(row.prompt), [policy.tokenizer.decode(response) for response in row.responses]


@pytest.mark.parametrize(
    ("template", "prompt", "response"),
    [
        (
            CHATML,
            "<|im_start|>user\nWho keeps the keys?<|im_end|>\n<|im_start|>assistant\n",
            "The warden.<|im_end|>",
        ),
        (
            MARKED,
            "<bos><|im_start|>user\n\nWho keeps the keys?<|im_end|><|im_start|>assistant\n\n",
            "The warden.<|im_end|>",
        ),
        (MARKED_ONLY, "user: Who keeps the keys?\nassistant:", " The warden.<eos>"),
        (BRACKETS, "<bos>[Q] Who keeps the keys? [A]", " The warden. <eos>"),
        (
            THINKING,
            "<|im_start|>user\nWho keeps the keys?<|im_end|>\n<|im_start|>assistant\n",
            "<think>\n\n</think>\n\nThe warden.<|im_end|>",
        ),
        (None, "<bos>User: Who keeps the keys?\n\nAssistant:", " The warden.<eos>"),
    ],
)
def test_prompt_and_response(template: str | None, prompt: str, response: str) -> None:
    policy = policy_with(template)
    row = policy.row(PROMPT, ["The warden."])
    assert texts(policy, row) == (prompt, [response])
    assert policy.tokens.prompt(PROMPT) == row.prompt


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_stop_token_comes_once_and_last(name: str) -> None:
    policy = policy_with(TEMPLATES[name])
    stop = policy.tokens.form.stop
    written = str(policy.tokenizer.convert_ids_to_tokens(stop))
    row = policy.row(PROMPT, ["The warden.", "The warden." + written, f"The {written} warden."])
    for response in row.responses:
        assert list(response).count(stop) == 1
        assert response[-1] == stop
    assert list(row.responses[0]) == list(row.responses[1])
    assert row.prompt.count(policy.tokenizer.bos_token_id) <= 1


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_sampled_text_becomes_the_same_tokens(name: str) -> None:
    """What a model said, written back as a record, is what it said."""
    policy = policy_with(TEMPLATES[name])
    ids = list(policy.row(PROMPT, ["The warden keeps them."]).responses[0])
    words = policy.tokens.words(PROMPT, ids[:-1])
    assert words == "The warden keeps them."
    assert list(policy.row(PROMPT, [words]).responses[0]) == ids


def test_a_response_may_bring_its_own_thoughts() -> None:
    policy = policy_with(THINKING)
    row = policy.row(PROMPT, ["<think>keys</think>The warden."])
    assert texts(policy, row)[1] == ["<think>keys</think>The warden.<|im_end|>"]


def test_a_plain_document_has_no_roles() -> None:
    for template, begin in ((None, "<bos>"), (CHATML, "<bos>")):
        policy = policy_with(template)
        assert texts(policy, policy.row([], ["The river is cold."])) == (begin, ["The river is cold.<eos>"])
    policy = Policy(build_model("llama"), build_tokenizer(bos=False))
    assert texts(policy, policy.row([], ["The river."])) == ("<eos>", ["The river.<eos>"])


def test_the_plain_format_names_roles_and_keeps_white_space() -> None:
    policy = policy_with(None)
    prompt: Prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Who?"}]},
        {"role": "assistant", "content": "The warden."},
        {"role": "user", "content": "Why?"},
    ]
    row = policy.row(prompt, [" Nobody knows."])
    assert texts(policy, row) == (
        "<bos>System: Be brief.\n\nUser: Who?\n\nAssistant: The warden.\n\nUser: Why?\n\nAssistant:",
        [" Nobody knows.<eos>"],
    )


@pytest.mark.parametrize(
    ("template", "says"),
    [
        # The generation prompt changes nothing, so the role would be part of the response.
        ("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}", "changes nothing"),
        # The whole conversation begins otherwise than the prompt.
        (
            "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '>' }}{% endif %}",
            "not the beginning",
        ),
        # The generation prompt is not what stands before the answer.
        (CHATML.replace("assistant\n", "bot\n"), "not the beginning"),
        # Marks that mark the user.
        (
            "{% for m in messages %}{% if m['role'] == 'system' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
            "{% else %}{{ m['content'] }}{% endif %}{% endfor %}",
            "mark nothing",
        ),
    ],
)
def test_a_template_without_assistant_marks(template: str, says: str) -> None:
    with pytest.raises(ModelError, match=f"a template without assistant marks: .*{says}"):
        policy_with(template)


def test_marks_that_leave_out_the_stop_token_are_told(caplog: pytest.LogCaptureFixture) -> None:
    template = MARKED.replace("| trim + '<|im_end|>' }}{% endgeneration %}", "| trim }}{% endgeneration %}<|im_end|>")
    with caplog.at_level(logging.WARNING, "trueup"):
        policy = policy_with(template)
    assert "leave out the stop token" in caplog.text
    assert texts(policy, policy.row(PROMPT, ["The warden."]))[1] == ["The warden.<|im_end|>"]


def test_a_template_that_breaks_the_rule_for_one_record() -> None:
    """The probe passes; a conversation of two turns is cut to its last one once the answer is there."""
    template = (
        "{% set shown = messages if messages[-1]['role'] == 'user' else messages[-2:] %}"
        "{% for m in shown %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    policy = policy_with(template)
    policy.row(PROMPT, ["The warden."])
    long: Prompt = [*PROMPT, {"role": "assistant", "content": "I."}, {"role": "user", "content": "No."}]
    with pytest.raises(ModelError, match=r"r7: chat_template: .*without assistant marks"):
        policy.row(long, ["The warden."], id="r7")


def test_a_template_that_rewrites_the_response() -> None:
    policy = policy_with(CHATML.replace("message['content']", "message['content'] | replace('old', 'new')"))
    with pytest.raises(ModelError, match=r"r1: the chat template rewrites the response 'the old tower'"):
        policy.row(PROMPT, ["the old tower"], id="r1")


def test_a_template_that_refuses_a_role() -> None:
    policy = policy_with(BRACKETS)
    with pytest.raises(ModelError, match=r"r2: chat_template: .*only user and assistant"):
        policy.row([{"role": "system", "content": "Be brief."}, *PROMPT], ["no"], id="r2")


def test_two_beginnings() -> None:
    with pytest.raises(ModelError, match="two beginning-of-sequence"):
        policy_with("{{ bos_token }}" + MARKED)


def test_no_stop_token() -> None:
    tokenizer: PreTrainedTokenizerFast = build_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        Policy(build_model("llama"), tokenizer)


def test_a_picture() -> None:
    prompt: Prompt = [{"role": "user", "content": [{"type": "image", "image": "x.png"}]}]
    with pytest.raises(ModelError, match="r3: a user message holds image"):
        policy_with(None).row(prompt, ["no"], id="r3")
