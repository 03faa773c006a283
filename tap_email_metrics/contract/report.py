"""The contract report: as Markdown for people, and as JSON for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tap_email_metrics.contract.questions import Finding, Question

UNTOLD = "cannot be told here"


def finding_json(finding: Finding) -> dict[str, Any]:
    """Return the answer to one question."""
    question, answer = finding.question, finding.answer
    return {
        "question": question.name,
        "asks": question.asks,
        "known": question.known,
        "expected": question.expects,
        "reading": answer.reading,
        "says": question.readings.get(answer.reading or "", UNTOLD),
        "why": answer.why,
        "observations": answer.observations,
        "requests": finding.requests,
        "settings": list(question.settings) if answer.reading else [],
        "contradicts": contradicts(question, answer.reading),
    }


def contradicts(question: Question, reading: str | None) -> bool:
    """Return whether a reading is another one than what is known for sure."""
    return question.is_settled and reading not in {None, question.expects}


def markdown(report: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a report for a person to read and to hand on."""
    yield "# Contract report"
    yield ""
    yield f"tap-email-metrics {report['version']}, {report['date']}"
    yield ""
    yield (
        "This report holds names and types of fields, counts and formats. It holds no "
        "address, id, subject, URL or name. Read it before you hand it on."
    )
    for name, provider in report["providers"].items():
        yield from _provider(name, provider)


def _provider(name: str, provider: dict[str, Any]) -> Iterator[str]:
    account = f", account {provider['account']}" if "account" in provider else ""
    yield f"\n## {name}{account}\n"
    skew = provider["clock_skew_seconds"]
    yield f"- outcome: {provider['outcome']}"
    yield f"- requests: {provider['requests']} of {provider['allowed']}"
    yield f"- clock skew: {'unknown' if skew is None else f'{skew} s'}"
    names = ", ".join(provider["limiting_headers"]) or "none"
    yield f"- headers about limits: {names}"
    if provider["questions"]:
        yield "\n### Questions\n"
        yield from table(
            ("question", "answer", "seen", "requests", "known before"),
            (_answer(one) for one in provider["questions"]),
        )
    if provider["verified"]:
        yield "\n### Lists that were read twice\n"
        yield from table(
            ("list", "ways", "rows", "in the state", "verdict"),
            (_verdict(one) for one in provider["verified"]),
        )
    if provider["paths"]:
        yield "\n### Paths\n"
        yield from table(("report", "path", "answer"), _paths(provider["paths"]))
        yield from _overrides(provider["path_overrides"])
    for stream, fields in provider["fields"].items():
        yield f"\n### Fields of {stream}\n"
        yield from _fields(fields)


def _answer(one: dict[str, Any]) -> tuple[object, ...]:
    told = f"**{one['says']}**" if one["reading"] else one["says"]
    text = f"{told}: {one['why']}" if one["why"] else told
    if one["contradicts"]:
        text += " (this contradicts what was known: please report it)"
    known = one["known"]
    return one["asks"], text, one["observations"], one["requests"], known


def _verdict(one: dict[str, Any]) -> tuple[object, ...]:
    why = f": {one['why']}" if one["why"] else ""
    stored = one.get("in_state")
    return (
        one["list"],
        one["ways"],
        one.get("rows", ""),
        "not told" if stored is None else stored,
        f"{one['verdict']}{why}",
    )


def _paths(paths: dict[str, dict[str, str]]) -> Iterator[tuple[object, ...]]:
    for operation, answers in paths.items():
        for path, answer in answers.items():
            yield f"`{operation}`", f"`{path}`", answer


def _overrides(overrides: dict[str, str]) -> Iterator[str]:
    if not overrides:
        return
    yield "\nFor `luxsci.path_overrides`:\n"
    yield "```json"
    yield "{"
    for number, (operation, path) in enumerate(overrides.items(), 1):
        comma = "," if number < len(overrides) else ""
        yield f'  "{operation}": "{path}"{comma}'
    yield "}"
    yield "```"


def _fields(stream: dict[str, Any]) -> Iterator[str]:
    yield f"{stream['rows']} rows.\n"
    yield from table(
        ("field", "types", "null", "missing"),
        (
            (
                f"`{name}`",
                ", ".join(f"{kind} ({n})" for kind, n in one["types"].items())
                + (f"; words: {', '.join(one['words'])}" if "words" in one else ""),
                one["null"],
                one["missing"],
            )
            for name, one in stream["fields"].items()
        ),
    )
    for title, key in (
        ("Fields that no schema has", "in_no_schema"),
        ("Fields of the schema that were not seen", "never_seen"),
    ):
        if stream[key]:
            yield f"\n{title}: {', '.join(f'`{name}`' for name in stream[key])}"


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |"


def known_page(tables: Iterable[tuple[str, Iterable[Question]]]) -> str:
    """Return the page of what is known, from the questions of each provider.

    Args:
        tables: pairs of a provider's title and its questions.
    """
    lines = [
        "# What is known of the APIs",
        "",
        "This page is made from the tables of questions in the code",
        "(`tap_email_metrics/providers/*/questions.py`). No live account was used to",
        "write them. [A contract report](contract-report.md) of your account answers",
        "most of them with up to 60 requests.",
        "",
        "A word in brackets says how an answer is known: *documented* by the vendor,",
        "*seen in clients* that are public and work, *inferred* from other facts, or",
        "*guessed*.",
    ]
    for title, questions in tables:
        lines += ["", f"## {title}"]
        for question in questions:
            lines += _known(question)
    return "\n".join([*lines, ""])


def _known(question: Question) -> Iterator[str]:
    yield ""
    yield f"### {question.asks}"
    yield ""
    for name, says in question.readings.items():
        mark = f" ({question.known})" if name == question.expects else ""
        yield f"- `{name}`: {says}{mark}"
    yield ""
    if question.expects is None:
        yield "Which of these is right is not known."
        yield ""
    yield f"What the tap does: {question.does}"
    yield ""
    yield f"In a contract report (`{question.name}`): {question.how}"
    if question.confirmed and question.settings:
        names = ", ".join(f"`{name}`" for name in question.settings)
        yield ""
        yield f"With that confirmed, these settings are unnecessary: {names}"
