"""NATS' keys and tokens, as `nsc` would make them: an operator, an account with JetStream, and its users."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shadow.nkeys import spell

OPERATOR, ACCOUNT, USER = 14 << 3, 0, 20 << 3


class Key:
    """One key pair."""

    def __init__(self, role: int) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public = spell(bytes((role,)), self._key.public_key().public_bytes_raw())
        self.seed = spell(bytes(((18 << 3) | (role >> 5), (role & 31) << 3)), self._key.private_bytes_raw())

    def token(self, name: str, subject: str, claims: dict[str, Any]) -> str:
        """A JWT by this key about another."""
        payload = {"jti": name, "iat": int(time.time()), "iss": self.public, "name": name, "sub": subject, "nats": claims}
        parts = [_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, payload)]
        return ".".join((*parts, _encoded(self._key.sign(".".join(parts).encode()))))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Operator:
    """Who runs a server by JWTs."""

    def __init__(self) -> None:
        self._key, self._account, self._system = Key(OPERATOR), Key(ACCOUNT), Key(ACCOUNT)

    def options(self, folder: Path) -> str:
        """For the server's configuration."""
        everything = dict.fromkeys(("subs", "data", "payload", "conn", "leaf", "imports", "exports"), -1) | {"wildcards": True}
        stored = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        account = {"limits": everything | stored, "type": "account", "version": 2}
        accounts = {
            self._account.public: self._key.token("shop", self._account.public, account),
            self._system.public: self._key.token("SYS", self._system.public, {**account, "limits": everything}),
        }
        file = folder / "operator.jwt"
        file.write_text(self._key.token("operator", self._key.public, {"type": "operator", "version": 2}))
        preload = "\n".join(f"{name}: {token}" for name, token in accounts.items())
        return f'operator: "{file}"\nsystem_account: {self._system.public}\nresolver: MEMORY\nresolver_preload {{\n{preload}\n}}'

    def credentials(self, key: Key) -> str:
        """What a credentials file of that user holds."""
        token = self._account.token(
            "banyan", key.public, {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2}
        )
        return (
            f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\nNKEY Seed printed below can be used to sign.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{key.seed}\n------END USER NKEY SEED------\n\n"
        )
