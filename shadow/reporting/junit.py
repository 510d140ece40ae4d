"""A report as JUnit's XML, which CI tools read: the gate is one test, and each signature another that fails while it is open.

There is no standard; this keeps to what the schemas of Jenkins' xunit plugin, GitLab and Surefire have in common.
"""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from shadow.report import SignatureLine
from shadow.reporting.document import Document
from shadow.words import percent, utc, visible


def junit(*documents: Document) -> str:
    """The documents, each a suite. Whatever values hold, it is well-formed: what XML can't hold is written as an escape."""
    root = ET.Element("testsuites", {"name": "banyan", **_numbers(*documents), "time": "0"})
    for document in documents:
        _suite(root, document)
    ET.indent(root)
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def _numbers(*documents: Document) -> dict[str, str]:
    tests = sum(1 + len(document.signatures) for document in documents)
    failures = sum((not document.gate.passed) + sum(line.open for line in document.signatures) for document in documents)
    return {"tests": str(tests), "failures": str(failures), "errors": "0"}


def _suite(root: ET.Element, document: Document) -> None:
    numbers = _numbers(document)
    made = datetime.fromtimestamp(document.made, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    suite = ET.SubElement(
        root,
        "testsuite",
        {"name": f"banyan.{document.route}", **numbers, "skipped": "0", "time": "0", "timestamp": made, "hostname": "banyan"},
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(document).items():
        ET.SubElement(properties, "property", {"name": name, "value": value})
    _case(suite, document.route, "gate", "gate", list(document.gate.reasons), _figures(document))
    for line in document.signatures:
        failed = [f"{line.kind} {line.path} is {line.state}"] if line.open else []
        _case(suite, f"{document.route}.signatures", f"{line.kind} {line.path}", line.state, failed, _told(document, line))


def _case(suite: ET.Element, group: str, name: str, kind: str, failed: list[str], told: list[str]) -> None:
    case = ET.SubElement(suite, "testcase", {"classname": f"banyan.{group}", "name": _one_line(name), "time": "0"})
    text = visible("\n".join([*failed, *told]))
    if failed:
        ET.SubElement(case, "failure", {"message": _one_line("; ".join(failed)), "type": kind}).text = text
    else:
        ET.SubElement(case, "system-out").text = text


def _properties(document: Document) -> dict[str, str]:
    counted = document.counted
    replayed = {"recording": visible(document.replayed), "reference": document.reference} if document.replayed else {}
    return {
        **replayed,
        "match_rate": percent(counted.match_rate),
        "coverage": percent(counted.coverage),
        "compared": str(counted.compared),
        "matched_outright": str(counted.matched_outright),
        "matched_by_configuration": str(counted.matched_by_configuration),
        "matched_by_rules": str(counted.matched_by_rules),
        "eligible": str(counted.eligible),
        "skipped": str(sum(counted.skipped.values())),
        "dropped": str(sum(counted.dropped.values())),
    }


def _figures(document: Document) -> list[str]:
    gate = document.gate
    if document.replayed:
        rate = percent(document.counted.match_rate)
        return [
            f"{gate.matched} of {gate.compared} match: {rate}; {percent(gate.required)} is needed",
            f"coverage {percent(document.counted.coverage)}",
        ]
    return [
        f"{gate.matched} of {gate.compared} match, {percent(gate.lower)} or more at 95 % confidence; {percent(gate.required)} is needed",
        f"coverage {percent(document.counted.coverage)}",
    ]


def _told(document: Document, line: SignatureLine) -> list[str]:
    told = [f"seen in {line.count} exchanges, first {utc(line.first_seen)}, last {utc(line.last_seen)}"]
    told += [f"{utc(change.at)}: {change.old} to {change.new}, by {change.by}: {change.why}" for change in document.histories[line.id]]
    for example in document.examples.get(line.id, ()):
        told.append(f"{utc(example.at)}: {example.method} {example.target}, request {example.request_id}")
        told += [
            f"{shown.path}: legacy {shown.legacy or 'nothing'}, candidate {shown.candidate or 'nothing'}" for shown in example.differences
        ]
        told += [text for text in (example.curl, *example.notes) if text]
    return told


def _one_line(text: str) -> str:
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")
