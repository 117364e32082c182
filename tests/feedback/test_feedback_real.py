"""Every recorded data set that is feedback is recognised, with the counts its description states."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path

import pytest

from trueup import feedback
from trueup.errors import FeedbackError
from trueup.feedback import Critique, Demonstration, Edit, Label, Pair, Ranking, Scores, Steps

DEFAULTS = [
    ("alpaca_eval/claude-2.annotations.json.gz", Pair, 805),
    ("alpaca_eval/gpt-3.5-turbo-0301.annotations.json.gz", Pair, 805),
    ("alpaca_eval/FuseChat-Llama-3.2-3B-Instruct.annotations.json.gz", Pair, 805),
    ("alpaca_eval/alpaca-7b.annotations.json.gz", Pair, 805),
    ("alpaca_eval_v1/vicuna-13b.annotations.json.gz", Pair, 805),
    ("hh_rlhf_harmless/test.jsonl.gz", Pair, 2312),
    ("hh_rlhf_harmless", Pair, 2312),
    ("hhh_alignment/hhh_alignment_eval.json.gz", Pair, 221),
    ("autoj_pairwise/testdata_pairwise.jsonl.gz", Pair, 1392),
    ("judgebench_claude/pairs_claude-3-5-sonnet.jsonl", Pair, 270),
    ("judgebench_claude/judge_arena_hard_claude-3-haiku.jsonl.gz", Pair, 270),
    ("rm_bench_chat/chat_filtered.json", Pair, 129 * 9),
    ("pku_dual_labels/train.json", Pair, 64),
    ("model_written_evals/agreeableness.jsonl", Pair, 1000),
    ("model_written_evals/corrigible-neutral-HHH.jsonl", Pair, 340),
    ("autoj_critique/single_traindata.jsonl.gz", Critique, 960),
    ("cut_judgments/train-alpaca-sample-iter1.json", Critique, 240),
    ("squality_human_eval/all-responses.jsonl", Ranking, 300),
    ("oasst_trees/en_100_tree.jsonl", Ranking, 211),
    ("dices/dices_990.json", Label, 72_103 - 3_751),
    ("xstest/xstest_v2_completions_mistralguard.csv", Label, 900),
    ("xstest/xstest_v2_completions_mistralinstruct.csv", Label, 900),
    ("race/annotation_results.json.gz", Label, 500),
    ("refusal_runs/qwen-1_8b-chat.jailbreakbench_ablation_evaluations.json", Label, 200),
    ("refusal_runs/qwen-1_8b-chat.harmless_baseline_evaluations.json", Label, 100),
    ("just_eval_scores", Scores, 200),
    ("lamp_edits", Edit, 150),
    ("bigbench_mistake/logical_deduction.jsonl", Steps, 300),
    ("bigbench_mistake", Steps, 900),
    ("roscoe_gsm8k_steps/roscoe-gsm8k-stepwise.json.gz", Steps, 1800),
    ("gsm8k/test.jsonl", Demonstration, 1319),
    ("self_instruct/seed_tasks.jsonl", Demonstration, 175),
    ("self_instruct/user_oriented_instructions.jsonl", Demonstration, 252),
    ("mt_bench/reference_answer_gpt-4.jsonl", Demonstration, 60),
]


@pytest.mark.parametrize(("name", "kind", "count"), DEFAULTS, ids=[name for name, _, _ in DEFAULTS])
def test_each_set_is_read_as_its_kind_with_its_count(data: Path, name, kind, count):
    found = feedback.load(data / name)
    assert (found.kind, len(found)) == (kind, count)
    assert len({record.id for record in found}) == count, "ids tell records apart"


NOT_FEEDBACK = [
    ("arena_hard_prompts/question.jsonl", "prompts without a response"),
    ("ifeval_prompts/input_data.jsonl", "benchmark prompts with rules"),
    ("mt_bench/question.jsonl", "prompts without a response"),
    ("refusal_prompts/harmful_train.json", "prompts without a response"),
    ("safety_prompts/BeaverTails-Evaluation.json", "prompts without a response"),
    ("safety_prompts/advbench_harmful_behaviors.csv", "benchmark prompts for safety"),
    ("xstest/xstest_prompts.csv", "prompts without a response"),
    ("honesty_qa/puqa.jsonl", "benchmark prompts for honesty"),
    ("honesty_qa/pkqa_13b.jsonl", "benchmark prompts for honesty"),
    ("truth_statements/cities.csv", "statements"),
    ("zappos_triplets/deconflicted_triplets.csv.gz", "triplets"),
    ("autoj_outputs/pairwise_example_output.jsonl", "in another file"),
    ("discretion/hh_test_generic_sonnet3.5.csv.gz", "in another file"),
    (
        "discretion/Mistral7B_reward_model_trained_in-hh-harmlesness_evaluated_in-hh-harmlesness_partition-test.csv.gz",
        "a reward model's scores",
    ),
    ("race/race_scores.json.gz", "consistency scores"),
    ("race/judge.json", "in another file"),
    ("triviaqa_judges/TriviaQA_Judges_w_HumanJudgement_V1.csv.gz", "the answers themselves are not in the file"),
    ("alpaca_eval/leaderboard_rows.csv", "leaderboard"),
]


@pytest.mark.parametrize(("name", "says"), NOT_FEEDBACK, ids=[name for name, _ in NOT_FEEDBACK])
def test_what_is_no_feedback_is_named(data: Path, name, says):
    with pytest.raises(FeedbackError, match=says):
        feedback.load(data / name)


def test_hh_prompts_end_where_the_dialogues_part(data: Path):
    pairs = feedback.load(data / "hh_rlhf_harmless/test.jsonl.gz")
    assert all(pair.prompt[-1]["role"] == "user" for pair in pairs)
    assert sum("turns" in pair.extra for pair in pairs) == 5
    assert pairs.lost[0].startswith("5 of 2312 records")
    earlier = pairs[1254]
    assert earlier.id == "test.jsonl.gz:1255"
    assert earlier.extra["turns"] == [2, 1]
    assert "\n\nAssistant:  I think they call them that because" in earlier.chosen
    assert sum(not pair.chosen for pair in pairs) == 4


@pytest.mark.parametrize(
    ("name", "rate", "error"),
    [
        ("alpaca_eval/claude-2", 17.188240, 1.174828),
        ("alpaca_eval/gpt-3.5-turbo-0301", 9.622453, 0.912966),
        ("alpaca_eval/FuseChat-Llama-3.2-3B-Instruct", 51.296677, 1.482579),
        ("alpaca_eval/alpaca-7b", 2.591451, 0.487086),
        ("alpaca_eval_v1/vicuna-13b", 70.434783, 1.606969),
    ],
)
def test_alpaca_eval_win_rates_follow_from_the_records(data: Path, name, rate, error):
    pairs = feedback.load(data / f"{name}.annotations.json.gz")
    # The judged model is output 2; its share is the chosen one's strength, or the rest.
    wins = []
    for pair in pairs:
        second_won = not pair.tie and pair.extra["preference"] > 1.5
        wins.append(100 * (pair.strength if second_won or pair.tie else 1 - pair.strength))
    assert statistics.mean(wins) == pytest.approx(rate, abs=5e-7)
    assert statistics.stdev(wins) / len(wins) ** 0.5 == pytest.approx(error, abs=5e-7)


def test_ties_of_alpaca_eval_and_autoj(data: Path):
    assert sum(pair.tie for pair in feedback.load(data / "alpaca_eval_v1/vicuna-13b.annotations.json.gz")) == 2
    pairs = feedback.load(data / "autoj_pairwise/testdata_pairwise.jsonl.gz")
    assert sum(pair.tie for pair in pairs) == 373
    assert Counter(pair.extra["label"] for pair in pairs) == {0: 520, 1: 499, 2: 373}


def test_hhh_is_cut_out_of_its_prompts(data: Path):
    pairs = feedback.load(data / "hhh_alignment/hhh_alignment_eval.json.gz")
    assert Counter(pair.goal for pair in pairs) == {"honest": 61, "helpful": 59, "harmless": 58, "other": 43}
    assert not any("###" in text for pair in pairs for text in (pair.chosen, pair.rejected, pair.prompt[0]["content"]))
    assert sum(len(pair.prompt) > 1 for pair in pairs) > 0
    assert all(pair.prompt[-1]["role"] == "user" for pair in pairs)


def test_two_criteria_of_one_pair(data: Path):
    pairs = feedback.load(data / "pku_dual_labels/train.json")
    assert Counter(pair.goal for pair in pairs) == {"better": 32, "safer": 32}
    disagree = sum(b.chosen != s.chosen for b, s in zip(pairs[::2], pairs[1::2], strict=True))
    assert disagree == 19  # 11 + 8 in the file


def test_rm_bench_keeps_the_three_by_three_styles(data: Path):
    pairs = feedback.load(data / "rm_bench_chat/chat_filtered.json")
    cells = Counter((pair.extra["chosen_style"], pair.extra["rejected_style"]) for pair in pairs)
    assert cells == {(i, j): 129 for i in range(3) for j in range(3)}


def test_judgebench_labels_and_judgments(data: Path):
    pairs = feedback.load(data / "judgebench_claude/judge_arena_hard_claude-3-haiku.jsonl.gz")
    assert Counter(pair.extra["label"] for pair in pairs) == {"A>B": 143, "B>A": 127}
    scores = []
    for pair in pairs:
        first, second = (judgment["decision"] for judgment in pair.extra["judgments"])
        second = {"A>B": "B>A", "B>A": "A>B"}.get(second, second)
        right = sum({pair.extra["label"]: 1, "A=B": 0, None: 0}.get(said, -1) for said in (first, second))
        scores.append(right > 0)
    assert 100 * statistics.mean(scores) == pytest.approx(32.22, abs=0.005)


def test_oasst_rankings_and_best_replies(data: Path):
    path = data / "oasst_trees/en_100_tree.jsonl"
    rankings = feedback.load(path)
    sizes = Counter(len(ranking.responses) for ranking in rankings)
    assert (sizes[3], sizes[2], sizes[4]) == (116, 57, 27)
    assert sum(count for size, count in sizes.items() if size >= 5) == 11
    assert all(sorted(ranking.ranks) == list(range(1, len(ranking.ranks) + 1)) for ranking in rankings)
    best = feedback.load(path, kind="demonstration")
    assert len(best) == 212
    assert sum(best.left_out.values()) == 687 - 212
    assert rankings.to(Demonstration)[0].response in {record.response for record in best}


def test_cut_counts_nulls_and_failures(data: Path):
    path = data / "cut_judgments/train-alpaca-sample-iter1.json"
    critiques = feedback.load(path)
    assert sorted(critiques.left_out.values()) == [47, 713]
    assert not any("$ERROR$" in record.critique for record in critiques)
    labels = feedback.load(path, kind=Label)
    assert Counter(record.label for record in labels) == {True: 713, False: 240}
    assert labels.left_out == {"the judgment is $ERROR$: the judge failed": 47}


def test_squality_scores_and_marks(data: Path):
    path = data / "squality_human_eval/all-responses.jsonl"
    scores = feedback.load(path, kind=Scores)
    assert len(scores) == 900
    means = {
        system: tuple(
            round(statistics.mean(r.scores[name] for r in scores if r.source == system), 1)
            for name in ("correctness", "selection", "overall")
        )
        for system in ("bart", "bart-dpr", "human")
    }
    assert means == {"bart": (34.8, 15.6, 18.1), "bart-dpr": (45.4, 24.3, 27.9), "human": (94.1, 88.8, 91.3)}
    critiques = feedback.load(path, kind="critique")
    marks = sum(len(record.marks) for record in critiques)
    unplaced = sum(len(record.extra.get("unplaced", ())) for record in critiques)
    assert (marks, unplaced) == (2824, 318)
    assert all(record.extra["unplaced"] for record in critiques if "unplaced" in record.extra)
    first = critiques[0]
    assert first.response[first.marks[0].start : first.marks[0].end] == (
        "They realize that they are the same people that built the buildings."
    )
    assert first.marks[0].comment == "They never meet these people"


def test_dices_votes_and_shares(data: Path):
    path = data / "dices/dices_990.json"
    votes = feedback.load(path)
    assert Counter(vote.label for vote in votes) == {False: 48_995, True: 19_357}
    assert votes.left_out == {"the answer 'Unsure' is neither yes nor no": 3751}
    assert votes[0].prompt[0] == {"role": "user", "content": "why is everyone getting vaccines if they just need jesus"}
    assert [message["role"] for message in votes[0].prompt] == ["user", "assistant"] * 4 + ["user"]
    shares = feedback.load(path, kind="scores")
    assert len(shares) == 990
    assert sum(record.scores["Unsure"] * record.extra["votes"] for record in shares) == pytest.approx(3751)


@pytest.mark.parametrize(
    ("model", "safe", "unsafe", "agreement", "kappa"),
    [("mistralinstruct", (0.8, 0.8), 23.5, 0.9756, 0.9195), ("mistralguard", (9.6, 9.2), 87.5, 0.9378, 0.8923)],
)
def test_xstest_rates_and_agreement(data: Path, model, safe, unsafe, agreement, kappa):
    labels = feedback.load(data / f"xstest/xstest_v2_completions_{model}.csv")
    first = labels.filter(lambda label: label.annotator == "annotation_1")
    second = labels.filter(lambda label: label.annotator == "annotation_2")
    final = {True: Counter(), False: Counter()}
    for label in first:
        final[label.extra["type"].startswith("contrast")][label.extra["final_label"]] += 1
    assert 100 * final[False]["2_full_refusal"] / 250 == pytest.approx(safe[0])
    assert 100 * final[False]["3_partial_refusal"] / 250 == pytest.approx(safe[1])
    assert 100 * final[True]["2_full_refusal"] / 200 == pytest.approx(unsafe)
    said = [(a.extra["annotation"], b.extra["annotation"]) for a, b in zip(first, second, strict=True)]
    observed = statistics.mean(a == b for a, b in said)
    left, right = Counter(a for a, _ in said), Counter(b for _, b in said)
    chance = sum(left[word] * right[word] for word in left) / len(said) ** 2
    assert observed == pytest.approx(agreement, abs=5e-5)
    assert (observed - chance) / (1 - chance) == pytest.approx(kappa, abs=5e-5)
    for label in first:
        wanted = "2_full_refusal" if label.extra["type"].startswith("contrast") else "1_full_compliance"
        assert label.label == (label.extra["annotation"] == wanted)


def test_just_eval_means_and_missing_scores(data: Path):
    scores = feedback.load(data / "just_eval_scores")
    means = {
        name: statistics.mean(r.scores[name] for r in scores if r.scores[name] is not None) for name in scores[0].scores
    }
    expected = {"helpfulness": 4.580, "clarity": 4.890, "factuality": 4.505, "depth": 3.226, "engagement": 3.370}
    assert means == pytest.approx(expected, abs=5e-4)
    assert sum(score is None for record in scores for score in record.scores.values()) == 7


def test_autoj_critiques_are_cut_out_of_the_judges_prompt(data: Path):
    path = data / "autoj_critique/single_traindata.jsonl.gz"
    critiques = feedback.load(path)
    assert critiques[0].prompt[0]["content"].startswith("Evaluate the efficiency of the popular programming languages")
    assert critiques[0].response.startswith("As an AI language model")
    assert "[END DATA]" not in critiques[0].response
    ratings = feedback.load(path, kind=Scores)
    assert Counter(record.scores["overall"] for record in ratings)[6.0] == 234


def test_lamp_edits_by_three_writers(data: Path):
    edits = feedback.load(data / "lamp_edits")
    assert Counter(edit.annotator for edit in edits) == {"W12": 50, "W16": 50, "W3": 50}
    assert sum(len(edit.extra["fine_grained_edits"]) for edit in edits) == 1093
    critiques = feedback.load(data / "lamp_edits", kind=Critique)
    marks = sum(len(record.marks) for record in critiques)
    assert marks + sum(len(record.extra.get("unplaced", ())) for record in critiques) == 1093
    assert critiques.to(Edit)[0].revision == edits[0].revision
    assert len(feedback.load(data / "lamp_edits", kind=Scores)) == 300


def test_first_mistakes(data: Path):
    for name, clean, steps in (
        ("logical_deduction", 6, 2497),
        ("multistep_arithmetic", 62, 1506),
        ("tracking_shuffled_objects", 40, 1617),
    ):
        solutions = feedback.load(data / f"bigbench_mistake/{name}.jsonl")
        assert sum(all(solution.labels) for solution in solutions) == clean
        assert sum(len(solution.steps) for solution in solutions) == steps
        for solution in solutions:
            mistake = solution.extra.get("mistake_index")
            assert (solution.labels.index(False) if False in solution.labels else None) == mistake


def test_roscoe_errors_by_goal(data: Path):
    solutions = feedback.load(data / "roscoe_gsm8k_steps/roscoe-gsm8k-stepwise.json.gz")
    errors = Counter()
    for solution in solutions:
        errors[solution.goal] += solution.labels.count(False)
    assert (errors["Factuality"], errors["Coherency and Logic"], errors["Arithmetic"]) == (94, 82, 10)
    assert len(errors) == 9
    assert sum(len(solution.steps) for solution in solutions if solution.goal == "Grammar") == 881
    assert solutions[0].steps[0].startswith("Janet eats 3 duck eggs for breakfast")


def test_race_agreement(data: Path):
    labels = feedback.load(data / "race/annotation_results.json.gz")
    by_row = list(zip(labels[::2], labels[1::2], strict=True))
    assert all((a.annotator, b.annotator) == ("human", "llm") for a, b in by_row)
    assert sum(a.label == b.label for a, b in by_row) == 245


def test_refusal_runs_recorded_rates(data: Path):
    labels = feedback.load(data / "refusal_runs/qwen-1_8b-chat.jailbreakbench_ablation_evaluations.json")
    rates = {
        detector: statistics.mean(label.label for label in labels if label.annotator == detector)
        for detector in ("substring_matching", "llamaguard2")
    }
    assert rates == pytest.approx({"substring_matching": 0.99, "llamaguard2": 0.82})


def test_mt_bench_answers_find_their_questions(data: Path, tmp_path: Path):
    answers = feedback.load(data / "mt_bench/reference_answer_gpt-4.jsonl")
    assert [len(record.prompt) for record in answers[:2]] == [1, 3]
    assert answers[0].prompt[0]["content"].startswith("Imagine you are participating in a race")
    alone = tmp_path / "reference.jsonl"
    alone.write_bytes((data / "mt_bench/reference_answer_gpt-4.jsonl").read_bytes())
    with pytest.raises(FeedbackError, match=r"question\.jsonl"):
        feedback.load(alone)


def test_model_written_pairs_name_their_behaviour(data: Path):
    pairs = feedback.load(data / "model_written_evals/agreeableness.jsonl")
    assert {pair.goal for pair in pairs} == {"agreeableness"}
    assert pairs[0].chosen == " Yes"
    assert "need not be the better answer" in pairs.lost[0]
    labels = feedback.load(data / "model_written_evals/agreeableness.jsonl", kind=Label)
    assert Counter(label.label for label in labels) == {True: 1000, False: 1000}


def test_a_folder_of_different_splits_is_refused(data: Path):
    with pytest.raises(FeedbackError, match="different splits"):
        feedback.load(data / "gsm8k")


def test_another_kind_is_refused_with_the_way_to_it(data: Path):
    with pytest.raises(FeedbackError, match=r"read as ranking or demonstration, not as pair.*Load it as ranking"):
        feedback.load(data / "oasst_trees/en_100_tree.jsonl", kind=Pair)
    with pytest.raises(FeedbackError, match="judges one response alone"):
        feedback.load(data / "xstest/xstest_v2_completions_mistralguard.csv", kind=Pair)
