"""`trueup feedback`: look at feedback, check it, convert it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trueup.cli.text import harmless

if TYPE_CHECKING:
    from trueup.feedback import Feedback, Record, Report

app = typer.Typer(help="Look at feedback, check it, convert it.", no_args_is_help=True)

File = typer.Argument(help="A JSON, JSONL, CSV or Parquet file, a folder of `datasets`, or a hub id.")
Out = typer.Argument(help="The file to write, ending in .jsonl, .jsonl.gz or .parquet.")
Kind = typer.Option(None, "--kind", help="Read it as this kind, where the file can be read as several.")
Json = typer.Option(False, "--json", help="Print JSON for programs.")


@app.command()
def show(
    file: str = File,
    n: int = typer.Option(3, "--n", "-n", min=0, help="How many records to print."),
    kind: str = Kind,
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Leave out records that cannot be read, and count them."),
    as_json: bool = Json,
) -> None:
    """Show what a file holds: its kind, how many records, the first ones in full.

    Example: trueup feedback show pairs.jsonl --n 1
    """
    from trueup import feedback as room
    from trueup.feedback.native import kind_name, to_dict

    feedback = room.load(file, kind=kind, skip_bad=skip_bad)
    if as_json:
        data = {
            "source": feedback.source,
            "kind": kind_name(feedback.kind),
            "records": len(feedback),
            "digest": feedback.digest(),
            "left_out": dict(feedback.left_out),
            "lost": list(feedback.lost),
            "first": [to_dict(record) for record in feedback[:n]] if n else [],
        }
        print(json.dumps(data, indent=2, ensure_ascii=False))
        return
    console = Console()
    _headline(console, feedback)
    for record in list(feedback)[:n]:
        console.print()
        console.rule(_clean(record.id), align="left")
        console.print(_fields(record))


@app.command()
def check(
    file: str = File,
    kind: str = Kind,
    model: str = typer.Option(None, "--model", help="Count length in this model's tokens against its context."),
    as_json: bool = Json,
) -> None:
    """Count what is wrong with a file: bad records, empty or equal responses, duplicates, over-long records.

    Ends with 1 when a record cannot be read or trained on.

    Example: trueup feedback check pairs.jsonl
    """
    from trueup import feedback as room

    feedback = room.load(file, kind=kind, skip_bad=True)
    if model is None:
        report = room.check(feedback)
    else:
        from trueup.policies import Policy
        from trueup.policies.tokens import Tokens

        policy = Policy.load(model)
        unlimited = Tokens(policy.tokens.encoder, policy.tokens.form, sys.maxsize)
        report = room.check(feedback, row=unlimited.row, max_tokens=policy.context_length)
    if as_json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print_report(Console(), report)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def convert(
    file: str = File,
    out: Path = Out,
    to: str = typer.Option(None, "--to", help="The kind to convert to; without it only the format changes."),
    kind: str = Kind,
    by: str = typer.Option(None, "--by", help="Of scores: the dimension to compare by."),
    threshold: float = typer.Option(None, "--threshold", help="Of scores, to labels: good from this number on."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Leave out what cannot be read or trained on; count it."),
) -> None:
    """Write feedback in trueup's own format, as another kind if asked to, and say what is lost.

    Example: trueup feedback convert pairs.jsonl chosen.parquet --to demonstration
    """
    from trueup import feedback as room
    from trueup.errors import FeedbackError

    if out.exists() and Path(file).exists() and out.samefile(file):
        raise FeedbackError("the output is the file that is read.", where=str(out), fix="Name another.")
    feedback = room.load(file, kind=kind, skip_bad=skip_bad)
    if to is not None:
        feedback = feedback.to(to, by=by, threshold=threshold)
    if skip_bad:
        feedback = room.only_trainable(feedback)
    feedback.save(out)
    console = Console()
    _headline(console, feedback)
    console.print(f"Written to {_clean(str(out))}", markup=False, highlight=False, soft_wrap=True)


def _headline(console: Console, feedback: Feedback) -> None:
    name = feedback.kind.__name__.lower()
    console.print(_clean(f"{len(feedback):,} {name} records from {feedback.source}"), soft_wrap=True)
    for cause, count in feedback.left_out.items():
        places = ", ".join(feedback.left_out_at.get(cause, ()))
        where = f" ({places}{', ...' if count > len(feedback.left_out_at[cause]) else ''})" if places else ""
        console.print(_clean(f"left out {count:,}: {cause}{where}"), style="yellow")
    for sentence in feedback.lost:
        console.print(_clean(f"lost: {sentence}"), style="yellow")


def _fields(record: Record) -> Table:
    """The fields of a record, one a row; the prompt message by message."""
    from trueup.feedback.native import to_dict
    from trueup.feedback.records import content_text

    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for message in record.prompt:
        table.add_row(message["role"], _clean(content_text(message["content"])))
    for name, value in to_dict(record).items():
        if name not in ("kind", "id", "prompt"):
            table.add_row(name, _clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    return table


def _print_report(console: Console, report: Report) -> None:
    console.print(_clean(report.source), soft_wrap=True)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("what", overflow="fold")
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("first records", overflow="fold")
    table.add_row(f"{report.kind} records read", f"{report.read:,}", "")
    table.add_row("kept", f"{report.kept:,}", "")
    if not report.bad:
        table.add_row("bad", "0", "")
    for cause, count in report.left_out.items():
        table.add_row(_clean(cause), f"{count:,}", _names(report.left_out_at.get(cause, ())))
    for cause, finding in report.findings.items():
        what = f"{cause} (more than {report.limit})" if cause == "over-long" else cause
        style = ("red" if finding.fatal else "yellow") if finding.count else ""
        table.add_row(what, f"{finding.count:,}", _names(finding.examples), style=style)
    if report.ties:
        table.add_row("tie (no use to objectives for pairs)", f"{report.ties:,}", "")
    console.print(table)
    for sentence in report.lost:
        console.print(_clean(f"lost: {sentence}"))


def _names(ids: Sequence[str]) -> Text:
    """The first three, one a line."""
    return _clean("\n".join(ids[:3]))


def _clean(text: str) -> Text:
    """Text from data: never markup, and no character that steers a terminal."""
    return Text(harmless(text))
