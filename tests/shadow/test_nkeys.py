"""Who may use a secured NATS, as a real nats-server has it: NKeys, credentials files, client certificates. No secret is in what is said."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shadow.nkeys import NKeyError, from_credentials, from_seed
from tests.shadow.test_jetstream import FAST, check, complete, some
from tests.support.certificates import Authority
from tests.support.nats import start_nats
from tests.support.nkeys import ACCOUNT, USER, Key, Operator
from tests.support.shipping import Shop, wait_for

# A pair that NATS' own clients are tested with: nobody's.
SEED = "SUAKYRHVIOREXV7EUZTBHUHL7NUMHPMAS7QMDU3GTIUWEI5LDNOXD43IZY"
PUBLIC = "UD466L6EBCM3YY5HEGHJANNTN4LSKTSUXTH7RILHCKEQMQHTBNLHJJXT"


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="banyan-"))
    yield path
    shutil.rmtree(path)


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_seed_is_read_as_others_write_it(tmp_path: Path) -> None:
    key = from_seed(written(tmp_path, "user.nk", SEED + "\n"))
    signature = base64.b64decode(key.sign("a nonce"))
    spelt = base64.b32decode(key.public)
    Ed25519PublicKey.from_public_bytes(spelt[1:33]).verify(signature, b"a nonce")
    assert key.public == PUBLIC
    assert repr(key) == f"NKey({PUBLIC})"


@pytest.mark.parametrize(
    "text",
    ["", SEED[:-1], SEED[:-1] + "A", SEED.lower(), SEED + SEED, Key(ACCOUNT).seed, Key(USER).public, "\xff" * 58, "S" + "A" * 57],
    ids=["empty", "short", "checksum", "lower", "twice", "account", "public", "no-base32", "zeros"],  # two are another's in each process
)
def test_what_is_no_seed_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    for path, read in ((written(tmp_path, "user.nk", text), from_seed), (written(tmp_path, "a.creds", text), from_credentials)):
        with pytest.raises(NKeyError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(text) < 2 or text not in str(caught.value)


def ships(shop: Shop) -> None:
    """Both ends get in, and what they send is counted."""
    shop.start_shipper()
    shop.start_worker()
    shop.send(some(4), captured=4)
    wait_for(lambda: complete(shop, 4), shop)


def refused(shop: Shop) -> str:
    """What a worker says that does not get in."""
    worker = shop.start_worker(wait=False)
    wait_for(lambda: "NATS can't be used" in worker.log.read_text(), shop)
    assert worker.stop(20) == 0
    return worker.log.read_text()


def test_an_nkey_gets_in_and_another_does_not(folder: Path) -> None:
    key, other = Key(USER), Key(USER)
    server = start_nats(folder / "nats", f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}")
    try:
        file = written(folder, "user.nk", key.seed)
        shop = Shop(folder, server, more=FAST + 'nkey = "user.nk"\n')
        try:
            ships(shop)
            written(folder, "user.nk", other.seed)
            assert "uthorization" in refused(shop)
            written(folder, "user.nk", "no seed")
            assert f"{file.name} holds no seed of a user's NKey" in refused(shop)
            assert f"shadow.jetstream.nkey: {file} holds no seed" in check(shop.config)
            assert not [seed for seed in (key.seed, other.seed) if seed in shop.log()]
            file.unlink()
            assert f"shadow.jetstream.nkey: {file}: " in check(shop.config)
        finally:
            shop.stop()
    finally:
        server.stop()


def test_a_credentials_file_gets_in_and_one_of_another_operator_does_not(folder: Path) -> None:
    operator, key = Operator(), Key(USER)
    (folder / "nats").mkdir()
    server = start_nats(folder / "nats", operator.options(folder / "nats"))
    try:
        written(folder, "banyan.creds", operator.credentials(key))
        shop = Shop(folder, server, more=FAST + 'credentials = "banyan.creds"\n')
        try:
            ships(shop)
            other = Operator().credentials(key)
            written(folder, "banyan.creds", other)
            assert "uthorization" in refused(shop)
            written(folder, "banyan.creds", operator.credentials(key).replace("BEGIN USER NKEY SEED", "BEGIN NOTHING"))
            assert "banyan.creds holds no credentials of NATS" in refused(shop)
            assert "shadow.jetstream.credentials: " in check(shop.config)
            assert key.seed not in shop.log()
            assert other.splitlines()[1] not in shop.log()
        finally:
            shop.stop()
    finally:
        server.stop()


def test_a_client_certificate_gets_in_and_none_does_not(folder: Path) -> None:
    (folder / "nats").mkdir()
    authority = Authority(folder)
    certificate, key = authority.issue("server", "127.0.0.1")
    authority.issue("client", "banyan")
    tls = f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.ca}", verify: true }}'
    server = start_nats(folder / "nats", tls)
    try:
        ours = 'certificate = "client.pem"\nkey = "client.key"\n'
        shop = Shop(folder, server, more=FAST + f'ca = "{authority.ca.name}"\n{ours}', url=server.url.replace("nats:", "tls:"))
        try:
            ships(shop)
            text = shop.config.read_text()
            shop.config.write_text(text.replace(ours, ""))
            refused(shop)
            shop.config.write_text(text.replace("client.key", "server.key"))
            assert "holds no certificate and key in PEM that belong together" in check(shop.config)
            shop.config.write_text(text.replace('certificate = "client.pem"\n', ""))
            assert "key is that of certificate, which is missing" in check(shop.config)
            shop.config.write_text(text + 'token = "a-t0ken"\nnkey = "user.nk"\n')
            assert "write one of token, user and password, credentials, and nkey" in check(shop.config)
        finally:
            shop.stop()
    finally:
        server.stop()
