"""JUnit XML: a test case per rule, for the test pages of CI systems."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.model import Result, Run, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold at all (Char production of the recommendation)."""


def render(run: Run) -> bytes:
    """Write a run: suite per subject, case per rule; class name is the subject, case name the rule's id."""
    root = ET.Element("testsuites", {"name": f"harness {run.baseline}", **counted(run.results)})
    for subject in sorted({result.subject for result in run.results}):
        results = [result for result in run.results if result.subject == subject]
        facts = {"name": subject, "timestamp": run.started.isoformat(timespec="seconds")}
        suite = ET.SubElement(root, "testsuite", {**facts, **counted(results)})
        for result in results:
            add_case(suite, result)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def counted(results: Sequence[Result]) -> dict[str, str]:
    """Return the counts that a suite carries."""
    number = {status: sum(result.status is status for result in results) for status in Status}
    return {
        "tests": str(len(results)),
        "failures": str(number[Status.FAIL]),
        "errors": str(number[Status.ERROR]),
        "skipped": str(number[Status.NOT_APPLICABLE] + number[Status.WAIVED]),
    }


def add_case(suite: ET.Element, result: Result) -> None:
    """Add one rule with its properties and, unless it passed, why not."""
    case = ET.SubElement(suite, "testcase", classname=result.subject, name=result.rule)
    properties = ET.SubElement(case, "properties")
    facts = {
        "title": result.title.en,
        "title.ko": result.title.ko,
        "severity": result.severity.value,
        "controls": ", ".join(result.controls),
        "expected": result.expected,
        "observed": result.observed,
    }
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=clean(value))
    text = f"expected {result.expected}; observed {result.observed}"
    if result.status is Status.FAIL:
        ET.SubElement(case, "failure", message=clean(text)).text = clean(f"{result.title.en}\n{text}\nfix: {result.fix}")
    elif result.status is Status.ERROR:
        ET.SubElement(case, "error", message=clean(result.reason)).text = clean(result.reason)
    elif result.status in {Status.NOT_APPLICABLE, Status.WAIVED}:
        was = f" (was {result.was})" if result.was else ""
        ET.SubElement(case, "skipped", message=clean(f"{result.status}{was}: {result.reason}"))


def clean(text: str) -> str:
    """Replace what XML cannot hold, so that no observed value can break the report."""
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
