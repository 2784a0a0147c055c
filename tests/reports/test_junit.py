"""JUnit reports are well-formed whatever a host answered."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from harness.reports.base import render
from tests.reports.test_json import RUN


def test_a_case_per_rule_with_its_properties_and_the_counts_per_suite() -> None:
    root = ET.fromstring(render(RUN, "junit"))  # noqa: S314 - our own output
    assert root.attrib["tests"] == "4"
    assert (root.attrib["failures"], root.attrib["errors"], root.attrib["skipped"]) == ("1", "1", "1")
    cases = {case.attrib["name"]: case for case in root.iter("testcase")}
    assert set(cases) == {"ssh-root-login", "ssh-banner", "kernel-x", "kernel-y"}
    banner = cases["ssh-banner"]
    properties = {entry.attrib["name"]: entry.attrib["value"] for entry in banner.iter("property")}
    assert properties["severity"] == "low"
    assert properties["title.ko"] == "배너"
    assert "<&" in properties["observed"]
    assert "\x00" not in properties["observed"]
    failure = banner.find("failure")
    assert failure is not None
    assert "fix: do" in (failure.text or "")
    assert cases["kernel-x"].find("skipped") is not None
    assert cases["ssh-root-login"].find("failure") is None
