"""A catalog document that uses every key, and what to do with it."""

from __future__ import annotations

import re

import pytest

from control_plane.catalog import compile_catalog, load_document
from weighbridge.rules.catalog import Catalog
from weighbridge.rules.errors import InvalidArgumentError

SAMPLE = """\
catalog: mail
description: A mail API.
features:
  mails: {type: metered, unit: mail, name: Mails sent, outage: {safe_capacity: 100}}
  contacts: {type: metered, outage: deny}
  attachment_mb: {type: number, unit: MB}
  support: {type: enum, values: [community, email, phone]}
  own_domain: {type: boolean}
plans:
  free:
    name: Free
    features:
      mails:
        limits:
          - {limit: 1000, window: month}
          - id: day
            limit: 100
            window: day
      attachment_mb: 5
      support: [community]
      own_domain: false
    upgrades_to: [pro]
    offer: {message: Begin for nothing., url: "https://example.com/free"}
  pro:
    extends: free
    features:
      mails: {limits: [{limit: 50000, kind: soft, window: {anniversary: month}}]}
      contacts: unlimited
      support: [phone, email]
      own_domain: true
add_ons:
  more_mails:
    name: 1,000 mails more
    plans: [free]
    features:
      mails: {limits: [{id: month, limit: 1000}]}
    offer: {message: More mails.}
"""


def changed(*pairs: tuple[str, str]) -> str:
    """Return the sample with each first text replaced by the second."""
    text = SAMPLE
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def compiled(text: str = SAMPLE, version: int = 1) -> Catalog:
    return compile_catalog(load_document(text, "mail.yaml"), version)


def error_of(text: str) -> tuple[str, int, str]:
    """Return path, line and problem of the one error that a text is refused with."""
    with pytest.raises(InvalidArgumentError) as caught:
        load_document(text, "mail.yaml")
    assert type(caught.value) is InvalidArgumentError
    where = re.match(r"mail\.yaml:([0-9]+): ", caught.value.problem)
    assert where, caught.value.problem
    return caught.value.field, int(where[1]), caught.value.problem[where.end() :]


def line_with(text: str, part: str) -> int:
    """Return the number of the first line that holds the part."""
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)
