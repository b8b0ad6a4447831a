"""What only features that sidecars keep leases of can have: one error with line and path."""

from __future__ import annotations

import pytest
from catalog_samples import changed, error_of, line_with

# What is replaced by what; the path; the line that holds the text; a part of the problem.
CASES = {
    "what is leased, of a cached feature": (
        ("outage: deny", "consistency: cached, outage: leased"),
        ("features.contacts.outage", "consistency", "needs consistency: leased"),
    ),
    "what is leased, of an authoritative feature": (
        ("outage: deny", "consistency: authoritative, outage: leased"),
        ("features.contacts.outage", "authoritative", "no sidecar has leases to spend"),
    ),
    "lost leases of a cached feature": (
        ("outage: deny", "consistency: cached, lost_lease: charge"),
        ("features.contacts.lost_lease", "cached", "needs consistency: leased"),
    ),
    "unknown fate of lost leases": (
        ("outage: deny", "lost_lease: forget"),
        ("features.contacts.lost_lease", "forget", "charge"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_error_with_path_and_line(case: str) -> None:
    replacement, (path, line_holds, problem) = CASES[case]
    text = changed(replacement)
    told_path, told_line, told_problem = error_of(text)
    assert (told_path, told_line) == (path, line_with(text, line_holds))
    assert problem in told_problem
