"""GET of /readyz and /metrics of either process."""

from __future__ import annotations

import http.client
import re
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple

_HTTP_OK = 200


class ProbeAnswer(NamedTuple):
    """What a probe said. `answered_at_unix_s` is the server's clock, in whole seconds."""

    is_ok: bool
    text: str
    answered_at_unix_s: float | None


def ask(address: str, path: str, timeout_s: float) -> ProbeAnswer:
    """Ask a probe at HOST:PORT. Raises OSError or HTTPException where nothing answers."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        return ProbeAnswer(response.status == _HTTP_OK, text, _date(response.getheader("Date")))
    finally:
        connection.close()


def _date(header: str | None) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except ValueError:
        return None


def in_the_way(address: str, timeout_s: float) -> str:
    """Return why a process is not ready, in its own words; empty where it is."""
    try:
        answer = ask(address, "/readyz", timeout_s)
    except (OSError, http.client.HTTPException) as error:
        return f"{address} does not answer: {getattr(error, 'strerror', None) or error}"
    return "" if answer.is_ok else "; ".join(answer.text.split("\n")).strip("; ")


def metrics_of(text: str) -> dict[str, float]:
    """Return the samples without labels of a Prometheus text, by name."""
    samples: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name and "{" not in name and not name.startswith("#"):
            samples[name] = float(value.split(" ", 1)[0])
    return samples


def info_of(text: str, name: str) -> dict[str, str]:
    """Return the labels of an info metric in a Prometheus text; none where it is not there."""
    for line in text.splitlines():
        if line.startswith(f"{name}{{"):
            labels = line[len(name) + 1 : line.rindex("}")]
            return dict(_LABEL.findall(labels))
    return {}


_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')
