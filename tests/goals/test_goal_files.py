from __future__ import annotations

from pathlib import Path

import pytest

from trueup import goals
from trueup.errors import RecipeError
from trueup.goals import Evidence, EvidenceVerdict, Goal, GoalVerdict, Outcome, Rule, required_met

GOOD = """
name: mine
goals:
  - name: kind
    statement: Be kind.
    required: true
    evidence:
      - {measure: politeness, expect: rises, margin: 0.1}
"""


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "goals.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        goals.load(path)
    assert str(path) in str(caught.value)
    return caught.value.problems


def test_loads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(GOOD)
    mine = goals.load(path)
    assert mine.measures == ("politeness",)
    assert mine.goals[0].kind == "principle"
    assert mine.goals[0].evidence[0].rule == Rule("difference", True, 0.1, strict=True)


@pytest.mark.parametrize("name", goals.shipped())
def test_shipped_files_load(name: str) -> None:
    assert goals.load(name).name == name


def test_3h_asks_for_helpful_honest_harmless() -> None:
    required = [goal.name for goal in goals.load("3h").goals if goal.required]
    assert required == ["helpful", "honest", "harmless"]


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    text = """
name: mine
descripton: a typing error
goals:
  - name: kind
    statment: Be kind.
    kind: virtue
    evidence:
      - {measure: a, expect: goes up}
      - {measure: b, expect: does not fall}
      - {measure: c, expect: at least 0.5, margin: 0.1}
      - {measure: d, expect: rises, margin: -1}
"""
    found = "\n".join(problems(tmp_path, text))
    for part in (
        "did you mean description?",
        "did you mean statement?",
        "goals.0.statement: missing",
        "'virtue'",
        "'goes up'; expect one of rises, falls",
        "needs a margin above 0: how large a fall",
        "takes no margin",
        "evidence.3.margin",
    ):
        assert part in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("name: [", "not valid YAML"),
        ("- a list", "the file"),
        ("name: mine\ngoals: []", "goals"),
        ("name: m\ngoals: [{name: a, statement: b, required: true}]", "required but names no evidence"),
        ("name: m\ngoals: [{name: a, statement: b}, {name: a, statement: c}]", "two goals have one name: a"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    assert message in "\n".join(problems(tmp_path, text))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
        goals.load(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="did you mean harmless"):
        goals.load("harmles")
    with pytest.raises(RecipeError, match="shipped: 3h"):
        goals.load("zzz")


@pytest.mark.parametrize(
    ("evidence", "rule", "words"),
    [
        ({"expect": "rises"}, Rule("difference", True, 0.0, True), "rises"),
        ({"expect": "falls", "margin": 2}, Rule("difference", False, -2.0, True), "falls by more than 2"),
        (
            {"expect": "does not fall", "margin": 0.05},
            Rule("difference", True, -0.05),
            "does not fall by more than 0.05",
        ),
        ({"expect": "does not  rise", "margin": 0.1}, Rule("difference", False, 0.1), "does not rise by more than 0.1"),
        ({"expect": "at least 0.9"}, Rule("after", True, 0.9), "at least 0.9"),
        ({"expect": "at most -1e-3"}, Rule("after", False, -0.001), "at most -1e-3"),
    ],
)
def test_rules(evidence: dict[str, object], rule: Rule, words: str) -> None:
    read = Evidence.model_validate({"measure": "m", **evidence})
    assert (read.rule, read.words) == (rule, words)


def test_unknown_measures_name_the_nearest() -> None:
    found = goals.unknown_measures(goals.load("harmless"), ["preference_acuracy"])
    assert (
        "prefers what people prefer: there is no measure 'preference_accuracy'; did you mean preference_acuracy?"
        in found[0]
    )
    assert not goals.unknown_measures(goals.load("harmless"), goals.load("harmless").measures)


def verdict(*outcomes: Outcome, required: bool = True) -> GoalVerdict:
    evidence = tuple(
        EvidenceVerdict(name="m", rule="rises", outcome=o, reason="", bound=0, above=True, interval_of="difference")
        for o in outcomes
    )
    named = (Evidence(measure="m", expect="rises"),)
    return GoalVerdict(Goal(name="g", statement="s", required=required, evidence=named), evidence)


def test_a_goal_is_met_only_if_all_its_evidence_holds() -> None:
    assert verdict("holds", "holds").verdict == "met"
    assert verdict("holds", "not shown").verdict == "not shown"
    assert verdict("holds", "not shown", "fails").verdict == "not met"
    assert verdict(required=False).verdict == "not shown"


def test_the_gate_opens_only_on_met() -> None:
    assert required_met([verdict("holds"), verdict("fails", required=False)])
    assert not required_met([verdict("holds"), verdict("not shown")])
    assert not required_met([verdict("fails")])
    assert required_met([])
