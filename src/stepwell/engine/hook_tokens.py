"""The tokens of hooks: who holds one may answer.

A token says which hook it is for, until when, and under which key; and an HMAC-SHA256 over that and over what is asked says that
it was made here. So the table of hooks holds none, and whoever asks for a hook again gets the same one. The key lies outside of
the database: in ``STEPWELL_HOOK_KEY``, or in a file beside it that only its user can read.
"""

import base64
import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

from stepwell.errors import UnavailableError
from stepwell.execution.tokens import PREFIX, TokenParts, unknown_hook
from stepwell.settings import hook_key_from_environment

_KEY_BYTES: Final = 32
_FILE: Final = "file:"


class HookTokens:
    """Makes and compares tokens.

    Args:
        path: The file of the key, made when the first token is; None: a key that lives as long as this object.
        is_shared: Several machines make and compare tokens, so the key must be given in the environment.
    """

    def __init__(self, path: Path | None, *, is_shared: bool = False) -> None:
        self._path = path
        self._is_shared = is_shared
        self._key: bytes | None = None

    def token(self, parts: TokenParts, name: str, action: str) -> str:
        """Return the token of a hook.

        Raises:
            UnavailableError: As ``load``.
        """
        key = self.load()
        run = base64.urlsafe_b64encode(parts.run_id.encode()).decode().rstrip("=")
        said = f"{PREFIX}.{run}.{parts.hook_id}.{parts.expires_ms:x}.{sha256(key).hexdigest()[:8]}"
        mac = hmac.digest(key, f"{said}\0{name}\0{action}".encode(), "sha256")
        return f"{said}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"

    def compare(self, token: str, parts: TokenParts, name: str, action: str) -> None:
        """Make sure that a token is the one of this hook.

        Raises:
            NotFoundError: It is not.
        """
        if not hmac.compare_digest(self.token(parts, name, action).encode(), str(token).encode()):
            raise unknown_hook()

    @property
    def is_loaded(self) -> bool:
        """Whether the key is known: from then on nothing here reads files."""
        return self._key is not None

    def load(self) -> bytes:
        """Read the key, and make it if there is none yet.

        Raises:
            UnavailableError: It cannot be.
        """
        if self._key is None:
            given = hook_key_from_environment()
            if given and given.startswith(_FILE):
                self._key = self._read(Path(given.removeprefix(_FILE)))
            elif given:
                self._key = sha256(given.encode()).digest()
            elif self._is_shared:
                raise UnavailableError("hooks need a key that all nodes share: set STEPWELL_HOOK_KEY to a long secret")
            elif self._path is None:
                self._key = secrets.token_bytes(_KEY_BYTES)
            else:
                self._key = self._read(self._path)
        return self._key

    def _read(self, path: Path) -> bytes:
        try:
            if not path.exists():
                _make(path)
            key = path.read_bytes()
        except OSError as error:
            raise UnavailableError(f"the key of the hooks cannot be read or made: {error}") from None
        if len(key) != _KEY_BYTES:
            raise UnavailableError(f"the key of the hooks is damaged: {path} has {len(key)} bytes, and not {_KEY_BYTES}")
        return key


def _make(path: Path) -> None:
    """Make the key of an installation; of many processes that try one wins. It is on the disk before it is used."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(_KEY_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
