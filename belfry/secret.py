"""The secret that signs tokens: where it comes from, and how `belfry up` makes one; never a flag, never logged."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from belfry.errors import Wrong
from belfry.sources import SECRET_PLACE

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_BYTES = 32  # RFC 7518, 3.2: an HS256 key is at least as long as the hash
MADE_BYTES = 48  # random; 64 characters in the file
MOST_BYTES = 65_536  # a file larger than this is not a secret but another file
FILE_NAME = "secret"
HOW_TO_MAKE = "make one with:  openssl rand -base64 48"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret and where it is from; `path` is None for a variable, `made` says that it did not exist before."""

    key: bytes = field(repr=False)
    words: str
    path: Path | None = None
    made: bool = False


def given_secret(environ: Mapping[str, str]) -> Secret | None:
    """The secret that the environment tells, None if it tells none. Raises Wrong."""
    text, path = environ.get("BELFRY_SECRET"), environ.get("BELFRY_SECRET_FILE")
    if text and path:
        raise Wrong("BELFRY_SECRET and BELFRY_SECRET_FILE (variables) are both set; unset one of them")
    if text:
        # surrogateescape gives back the bytes of a variable that is not UTF-8
        return _checked(Secret(text.encode(errors="surrogateescape").strip(), "BELFRY_SECRET (variable)"))
    if path:
        return _read(Path(path).expanduser(), f"BELFRY_SECRET_FILE (variable): {path}")
    return None


def needed_secret(environ: Mapping[str, str]) -> Secret:
    """The secret that the environment tells. Raises Wrong, also if it tells none."""
    found = given_secret(environ)
    if found is None:
        raise Wrong(f"no secret is set: {SECRET_PLACE}; {HOW_TO_MAKE}")
    return found


def kept_secret(directory: Path) -> Secret | None:
    """The secret that `belfry up` keeps in its data directory, None if there is none yet. Raises Wrong."""
    path = directory / FILE_NAME
    try:
        if not path.exists():
            return None
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}; be who may read {directory}, or name another one with --data") from None
    return _read(path, str(path))


def made_secret(directory: Path) -> Secret:
    """The kept secret, made first if there is none: mode 0600 from its first moment, and whole or not there."""
    if found := kept_secret(directory):
        return found
    path = directory / FILE_NAME
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=directory)  # mode 0600
        with open(descriptor, "wb") as file:
            file.write(secrets.token_urlsafe(MADE_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike rename it fails when another process was first: then that one's counts
        except FileExistsError:
            pass
        finally:
            os.unlink(draft)
    except OSError as error:
        raise Wrong(f"{path}: cannot keep the secret: {error.strerror}; make {directory} writable") from None
    found = _read(path, str(path))
    return Secret(found.key, found.words, path, made=True)


def open_to_others(secret: Secret) -> bool:
    """Whether its file can be read by more than its owner."""
    if secret.path is None:
        return False
    return bool(stat.S_IMODE(secret.path.stat().st_mode) & 0o077)


def _read(path: Path, words: str) -> Secret:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Wrong(f"{words}: {error.strerror}; give a file that holds the secret and can be read") from None
    if len(content) > MOST_BYTES:
        raise Wrong(f"{words}: larger than {MOST_BYTES:,} bytes; give a file that holds only the secret")
    return _checked(Secret(content.strip(), words, path))


def _checked(secret: Secret) -> Secret:
    if len(secret.key) < LEAST_BYTES:
        raise Wrong(f"{secret.words}: {len(secret.key)} bytes; a secret has at least {LEAST_BYTES}; {HOW_TO_MAKE}")
    return secret
