"""Shapes of well-known files that are no feedback: what they are, and what they are good for."""

from __future__ import annotations

from trueup.feedback.formats.base import not_feedback

not_feedback(
    "exam verdicts",
    "judges' verdicts on exam answers; the answers themselves are not in the file (`response` holds the exam's "
    "prompt). Measure the judges' agreement on it.",
    "model",
    "references",
    "HumanJudgement",
    "response",
    when=lambda data: str(data["response"]).rstrip().endswith("\nA:"),
)
not_feedback(
    "statements",
    "true and false statements, for probing what a model represents and for steering it.",
    "statement",
    "label",
    when=lambda data: "prompt" not in data and "response" not in data,
)
not_feedback(
    "answerable questions",
    "questions labelled as known or unknown to a model: benchmark prompts for honesty.",
    "question",
    "label",
    when=lambda data: data["label"] in ("known", "unknown"),
)
not_feedback(
    "verifiable instructions", "benchmark prompts with rules to verify.", "prompt", "instruction_id_list", "kwargs"
)
not_feedback(
    "reward scores",
    "a reward model's scores of pairs that are in another file, by row number. Measure its accuracy on it.",
    "row_id",
    "reward_a",
    "reward_b",
)
not_feedback(
    "principle verdicts",
    "a judge's probabilities for pairs that are in another file, by row number. Measure its discretion on it.",
    "row_id",
    "prob_A",
    "prob_B",
)
not_feedback(
    "consistency scores", "consistency scores of answers that are not in the file.", "race_score", "components"
)
not_feedback(
    "verdicts",
    "verdicts on responses that are in another file, by row number. Measure the judge's agreement on it.",
    when=lambda data: set(data) == {"output"} or set(data) == {"zj", "llm"},
)
not_feedback(
    "leaderboard", "a leaderboard's summary rows: it holds rates, not responses.", "win_rate", "standard_error"
)
not_feedback(
    "triplets",
    "a table of numbers without a header, such as similarity triplets (head, closer, farther).",
    when=lambda data: len(data) >= 2 and all(name.isdigit() for name in data),
)
not_feedback(
    "harmful behaviours",
    "harmful requests with the opening an attack aims at: benchmark prompts for safety.",
    "goal",
    "target",
    when=lambda data: "response" not in data,
)
