"""Signatures as Standard Webhooks has them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 (how every secret begins)
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """Return a secret to sign with."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def require_secret(secret: str) -> str:
    """Return a secret that can be signed with. Raises ValueError saying what it is not."""
    try:
        Webhook(secret)
    except (ValueError, RuntimeError) as error:
        raise ValueError("is no secret of Standard Webhooks: whsec_ and base64") from error
    return secret


def signed_headers(message: str, body: str, signers: Sequence[str], now_ms: int) -> dict[str, str]:
    """Return the headers that say who sends a message, one signature for each secret."""
    at = datetime.fromtimestamp(now_ms // 1_000, UTC)
    signatures = (Webhook(secret).sign(message, at, body) for secret in signers)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(now_ms // 1_000),
        "webhook-signature": " ".join(signatures),
    }
