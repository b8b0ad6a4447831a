"""Bearer tokens and the files they are kept in."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

from weighbridge.rules.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
)

TOKEN_BYTES: Final = 32
SECRET_LENGTH_MIN: Final = 16
SECRET_LENGTH_MAX: Final = 4096
OWNER_ONLY: Final = 0o600


def new_token() -> str:
    """Return a random token: 256 bits, safe in a header and a URL."""
    return f"wb_{secrets.token_urlsafe(TOKEN_BYTES)}"


def token_digest(token: str) -> str:
    """Return what is stored of a token. A random token needs no salt and no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def write_secret_file(path: Path, text: str) -> None:
    """Write a new file that only its owner can read: there whole, or not at all.

    Raises AlreadyExistsError where there is one, whatever it holds.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{text}\n")
                file.flush()
                os.fsync(file.fileno())
            # Unlike a rename, a link does not replace what is there.
            os.link(draft, path)
        finally:
            draft.unlink()
    except FileExistsError as error:
        raise AlreadyExistsError(f"{path} already exists; it is left as it is") from error
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise FailedPreconditionError(message) from error


def read_secret_file(path: Path) -> str:
    """Return the secret in a file, without the line's end.

    Raises NotFoundError, or FailedPreconditionError where it holds no usable secret. The message
    names the file and never what is in it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_LENGTH_MAX + 2)
    except FileNotFoundError as error:
        raise NotFoundError(f"secret file {path} does not exist") from error
    except OSError as error:
        message = f"secret file {path} cannot be read: {error.strerror or error}"
        raise FailedPreconditionError(message) from error
    secret = content.strip()
    if not SECRET_LENGTH_MIN <= len(secret) <= SECRET_LENGTH_MAX:
        raise FailedPreconditionError(
            f"secret file {path} must hold {SECRET_LENGTH_MIN} to {SECRET_LENGTH_MAX} characters"
        )
    # What can be sent in a header: visible ASCII, one line.
    if not all(0x21 <= byte <= 0x7E for byte in secret):  # noqa: PLR2004 (the range of ASCII)
        raise FailedPreconditionError(
            f"secret file {path} must hold one line of visible ASCII characters without blanks"
        )
    return secret.decode("ascii")
