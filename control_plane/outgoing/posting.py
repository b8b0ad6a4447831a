"""One POST: bounded in time and in what is read, never redirected, never through a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

import httpx

ANSWER_BYTES_MAX: Final = 65_536
CONNECTIONS_MAX: Final = 100
JSON_TYPE: Final = "application/json; charset=utf-8"
AGENT: Final = "weighbridge"
RETRY_AFTER_DIGITS_MAX: Final = 6


class Answer(NamedTuple):
    """What came back. `status_code` None: nobody answered in time; `error` says why."""

    status_code: int | None
    error: str = ""
    body: bytes = b""
    retry_after_s: int = 0


class Poster:
    """Posts JSON until it is closed."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._client = httpx.AsyncClient(
            # Per operation; the whole is bounded as well.
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            headers={"user-agent": AGENT, "content-type": JSON_TYPE},
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def post(self, url: str, body: str, headers: Mapping[str, str]) -> Answer:
        """Post a body; whatever goes wrong is an answer too."""
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._post(url, body.encode(), headers)
        except TimeoutError:
            return Answer(None, f"no answer within {self.timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            # Names of classes: messages of some are empty.
            reason = " ".join(str(error).split())
            return Answer(None, f"{type(error).__name__}: {reason}".rstrip(": "))

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        async with self._client.stream("POST", url, content=body, headers=headers) as response:
            read = bytearray()
            async for chunk in response.aiter_bytes():
                read += chunk
                if len(read) > ANSWER_BYTES_MAX:
                    break
        error = "" if response.is_success else f"answered {response.status_code}"
        retry_after_s = _seconds(response.headers.get("retry-after", ""))
        return Answer(response.status_code, error, bytes(read[:ANSWER_BYTES_MAX]), retry_after_s)


def _seconds(text: str) -> int:
    """Return the seconds of a Retry-After header; 0 where it has a date, or nothing sensible."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= RETRY_AFTER_DIGITS_MAX
    return int(text) if is_number else 0
