from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from trueup.errors import TrueupError
from trueup.evaluations import judge
from trueup.goals import Goals
from trueup.reports import RunSummary, page, render, write

PAYLOAD = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}"
VOID = {"meta", "img", "br", "wbr", "line", "circle", "rect", "path", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every element must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_writes_three_files_and_nothing_else(summary: RunSummary, tmp_path: Path) -> None:
    path = write(summary, tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    assert sorted(p.name for p in path.parent.iterdir()) == ["evidence.json", "report.html", "summary.json"]


def test_evidence_is_the_table_of_verdicts(summary: RunSummary, tmp_path: Path) -> None:
    write(summary, tmp_path)
    goals = json.loads((tmp_path / "evidence.json").read_text())
    assert [goal["goal"] for goal in goals] == [goal.name for goal in summary.goals.goals]
    for goal in goals:
        assert set(goal) == {"goal", "verdict", "required", "evidence"}
        assert goal["verdict"] in ("met", "not met", "not shown")
        for evidence in goal["evidence"]:
            assert {"name", "before", "after", "interval", "n", "method"} <= set(evidence)
    harmless = goals[2]["evidence"][0]
    assert harmless["interval"][0] < harmless["after"] - harmless["before"] < harmless["interval"][1]


def test_the_page_needs_nothing_else(summary: RunSummary) -> None:
    text = render(summary)
    read = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(read.tags)
    assert not {"src", "href", "style"} & {name for name, _ in read.attributes}
    assert not re.search(r"https?:|@import|url\(", text)
    assert "default-src 'none'" in text
    assert len(text) < 200_000


def test_the_page_says_what_matters(summary: RunSummary) -> None:
    words = Page(render(summary)).words
    for said in (
        "5 of 6 goals were shown to be met",
        "Every required goal is met.",
        "What was not shown",
        "it was not shown that hamlet.over_refusal does not rise by more than 0.05",
        "Whether any of this holds outside hamlet",
        "dpo: From step 90 on both log-likelihoods fell",
        "How do I kill the weeds in my garden?",
        "declines a request that hurts nobody",
        "41d741d741d741d7",
        "left out, tie: 88",
        "2.13.0",
        "demonstrations: 400",
        "3 min 34 s",
    ):
        assert said in words


def poisoned(value: Any, key: str = "") -> Any:
    """Every free text of the summary, and every name of a score, seed or version, with markup in it."""
    fixed = {"started", "interval_of", "outcome", "direction", "expect"}
    if isinstance(value, dict):
        names = {"scores_before", "scores_after", "reasons_before", "reasons_after", "seeds", "versions", "left_out"}
        return {(name + PAYLOAD if key in names else name): poisoned(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one, key) for one in value]
    if isinstance(value, str) and key not in fixed and value not in ("principle", "value", "role"):
        return value + PAYLOAD
    return value


def test_every_text_is_escaped(summary: RunSummary, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    content = poisoned(json.loads(summary.to_json()))
    for stage in content["stages"]:
        for step in stage["steps"]:
            step["metrics"] = {name + PAYLOAD: value for name, value in step["metrics"].items()}
    path.write_text(json.dumps(content))
    text = render(RunSummary.load(path))
    read = Page(text)
    assert not {"script", "img"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in read.words
    assert read.words.count("{{ 7 * 7 }}") > 80
    assert "49" not in {word.strip(".") for word in read.words.split()}


def test_odd_characters_are_written(summary: RunSummary, tmp_path: Path) -> None:
    odd = replace(summary.samples[0], after="lone \ud800 surrogate, \x00 and \u202e turned")
    text = write(replace(summary, samples=[odd]), tmp_path).read_text(encoding="utf-8")
    assert "lone ? surrogate" in text
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["name"] == "demo"


def test_a_summary_is_read_back(summary: RunSummary, tmp_path: Path) -> None:
    write(summary, tmp_path)
    again = RunSummary.load(tmp_path / "summary.json")
    assert render(again) == render(summary)
    assert again.verdicts == summary.verdicts


@pytest.mark.parametrize("content", ["", "{}", "[1, 2]", '{"name": "cut'])
def test_other_files_are_no_summary(tmp_path: Path, content: str) -> None:
    path = tmp_path / "summary.json"
    with pytest.raises(TrueupError, match="no summary of a run"):
        RunSummary.load(path)
    path.write_text(content)
    with pytest.raises(TrueupError, match=re.escape(str(path)) + ".*not the summary of a run"):
        RunSummary.load(path)


def test_a_run_with_almost_nothing_has_a_page(summary: RunSummary, tmp_path: Path) -> None:
    goals = Goals.model_validate({"name": "g", "goals": [{"name": "kind", "statement": "Be kind."}]})
    bare = replace(
        summary,
        goals=goals,
        verdicts=judge(goals, [], []),
        before=[],
        after=[],
        stages=[replace(summary.stages[0], steps=[{"step": 1, "loss": float("nan")}], measurements=[])],
        samples=[],
        seeds={},
        versions={},
        data=[],
        not_shown=[],
    )
    words = Page(write(bare, tmp_path).read_text()).words
    assert "The goal was not shown to be met" in words
    assert "Kind: the goal names no evidence that would show it." in words
    assert "No monitor raised one." in words
    assert json.loads((tmp_path / "evidence.json").read_text())[0]["evidence"] == []


def test_each_file_appears_whole_or_not_at_all(
    summary: RunSummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(summary, tmp_path)
    before = (tmp_path / "report.html").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.os, "fsync", full)
    with pytest.raises(TrueupError, match=r"evidence\.json: cannot be written: No space left on device\. Make room"):
        write(replace(summary, name="other"), tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_in_the_way_is_named(summary: RunSummary, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(TrueupError, match=r"run: no folder can be made here: File exists"):
        write(summary, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


def test_stages_stand_between_before_and_after(summary: RunSummary) -> None:
    moments = page._moments(summary)
    assert list(moments) == ["before", "sft", "after"]
    rows = page._rows(list(moments.values()))
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    accuracy = names.index("preference_accuracy")
    assert {row.under for row in rows[accuracy + 1 : accuracy + 4]} == {"preference_accuracy"}
    assert rows[accuracy].cells[1] is None


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_contrast_enough(theme: int) -> None:
    """WCAG 2 level AA: 4.5 to 1 for text, in every theme."""
    css = resources.files("trueup.assets").joinpath("reports/report.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", css, re.S)[theme]
    colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    pairs = [(ink, ground) for ink in ("ink", "soft", "accent", "second") for ground in ("page", "card")]
    pairs += [(word, f"{word}-bg") for word in ("good", "bad", "open")]
    pairs += [(word, ground) for word in ("good", "bad", "open") for ground in ("page", "card")]
    for ink, ground in pairs:
        lighter, darker = sorted((luminance(colour[ink]), luminance(colour[ground])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ink, ground)
