"""The Ed25519 keys of a fog and its devices, in files as OpenSSH writes them.

One pair for the fog and one for each device; the comment of a device's public key (``-C``) is the device's name::

    ssh-keygen -t ed25519 -N "" -C camera-1 -f camera-1
    cat camera-*.pub > devices.pub
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from rinr_flower.bandwidth import FOG
from rinr_flower.errors import ConfigError
from rinr_flower.names import MAX_NAME_LENGTH

Key = TypeVar("Key", Ed25519PrivateKey, Ed25519PublicKey)
_MADE_BY = 'ssh-keygen -t ed25519 -N "" -C NAME -f FILE'


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """A key file without passphrase; ConfigError that names the file and never shows its content."""
    data = _read_file(path)
    return _ed25519(
        lambda: load_ssh_private_key(data, password=None),
        Ed25519PrivateKey,  # type: ignore[type-abstract]  # only asked whether a key is one
        "private key without passphrase",
        str(path),
    )


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The public half, a file that ends in ``.pub``; ConfigError that names the file."""
    return _public_key(_read_file(path, f"the .pub file of a pair, {_MADE_BY}"), str(path))


def load_device_keys(path: Path) -> dict[str, Ed25519PublicKey]:
    """Public keys by device name, from a file of one key a line; ConfigError that names the line."""
    found: dict[str, Ed25519PublicKey] = {}
    known: dict[bytes, str] = {}
    for number, line in enumerate(_read_file(path, f"cat camera-*.pub > {path}").splitlines(), start=1):
        if not line.strip() or line.startswith(b"#"):
            continue
        where = f"{path}:{number}"
        words = line.split(maxsplit=2)
        name = words[2].decode("utf-8", errors="replace").strip() if len(words) == 3 else ""
        if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable() or name == FOG:
            raise ConfigError(f"{where}: the comment {name[:40]!r} is no device's name; make keys with {_MADE_BY}")
        key = _public_key(line, where)
        if name in found:
            raise ConfigError(f"{where}: a second key for {name!r}; a device has one")
        if (owner := known.setdefault(key.public_bytes_raw(), name)) != name:
            raise ConfigError(f"{where}: {name!r} has the key of {owner!r}; every device needs its own")
        found[name] = key
    if not found:
        raise ConfigError(f"{path} holds no public key; it needs one line for each device")
    return found


def _public_key(data: bytes, where: str) -> Ed25519PublicKey:
    return _ed25519(
        lambda: load_ssh_public_key(data),
        Ed25519PublicKey,  # type: ignore[type-abstract]
        "public key",
        where,
    )


def _ed25519(read: Callable[[], object], kind: type[Key], what: str, where: str) -> Key:
    """The key that ``read`` gives; ConfigError if it gives none, or one of another kind."""
    try:
        key = read()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where} is not an OpenSSH {what} ({type(error).__name__}); make one: {_MADE_BY}") from None
    if not isinstance(key, kind):
        raise ConfigError(f"{where} is an OpenSSH {what}, but of another kind than Ed25519; make one: {_MADE_BY}")
    return key


def _read_file(path: Path, made_by: str = _MADE_BY) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the key file {path} cannot be read: {error.strerror}; make one: {made_by}") from error
