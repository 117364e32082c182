"""The tokenizer writes and reads all that can be asked or said, and marks what the assistant says."""

from __future__ import annotations

from trueup.worlds.hamlet import World, tokenizer
from trueup.worlds.hamlet.reading import reading
from trueup.worlds.hamlet.tokenizer import vocabulary

TOKENIZER = tokenizer()


def ids_of(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def test_the_vocabulary_is_small_and_the_same_in_every_world() -> None:
    assert len(vocabulary()) < 512
    assert len(set(vocabulary())) == len(vocabulary()) == len(TOKENIZER)


def test_everything_said_round_trips_without_unknown_words() -> None:
    for seed in (0, 1):
        world = World(seed)
        texts = [record.response for record in reading(world, 2000)]
        for split in ("train", "test"):
            for question in world.questions(split, 800):
                texts += [question.text, world.answer(question)]
        for text in texts:
            assert TOKENIZER.unk_token_id not in ids_of(text), text
            assert TOKENIZER.decode(ids_of(text)) == text


def test_capitals_do_not_matter_and_unknown_words_are_marked() -> None:
    assert ids_of("Where does Anna live?") == ids_of("where does anna live ?")
    assert ids_of("spaceship") == [TOKENIZER.unk_token_id]


def test_nothing_special_is_added_unasked() -> None:
    assert TOKENIZER("anna.")["input_ids"] == ids_of("anna.")
    assert len(ids_of("anna.")) == 2


def test_the_template_begins_once_ends_each_answer_and_marks_it() -> None:
    conversation = [
        {"role": "system", "content": "good day."},
        {"role": "user", "content": "where does anna live?"},
        {"role": "assistant", "content": "by the mill."},
    ]
    whole = TOKENIZER.apply_chat_template(
        conversation, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    tokens = TOKENIZER.convert_ids_to_tokens(whole["input_ids"])
    assert " ".join(tokens) == "<s> <system> good day . <user> where does anna live ? <assistant> by the mill . </s>"
    marked = [token for token, mark in zip(tokens, whole["assistant_masks"], strict=True) if mark]
    assert marked == ["by", "the", "mill", ".", "</s>"]
    prompt = TOKENIZER.apply_chat_template(conversation[:2], add_generation_prompt=True, tokenize=False)
    assert TOKENIZER.apply_chat_template(conversation, tokenize=False) == prompt + "by the mill.</s>"
