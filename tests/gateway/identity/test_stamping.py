"""Keys of stamps: what is read of the configuration, what is published, and what is refused without being shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import KeySet, OctKey

from gateway.config import ConfigError, load
from gateway.identity import stamping
from gateway.identity.stamp_keys import read_key, secret_kid
from gateway.masking import masked
from gateway.settings import Config
from tests.support.stamp_keys import OTHER_SECRET, SECRET, pem, private, public_pem

TOML = """
[upstreams]
legacy = "http://127.0.0.1:1"
[identity]
source = "introspection"
"""


def configured(folder: Path, stamp: str) -> Config:
    path = folder / "banyan.toml"
    path.write_text(f"{TOML}\n[identity.stamp]\n{stamp}")
    return load(path)


def errors(folder: Path, stamp: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(folder, stamp)
    return str(caught.value)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_the_algorithm_is_the_key_s_and_the_public_half_verifies(tmp_path: Path, algorithm: str) -> None:
    key = private(algorithm)
    (tmp_path / "stamp.pem").write_text(pem(key))
    config = configured(tmp_path, 'key_file = "stamp.pem"')
    [read] = stamping.keys(config)
    assert read.algorithm == algorithm
    published = stamping.published(config)["keys"]
    assert [(each["kid"], each["alg"], each["use"]) for each in published] == [(read.kid, algorithm, "sig")]
    assert not {"d", "p", "q", "k"} & set(published[0])
    from joserfc.jwk import import_key

    public = import_key({key: value for key, value in published[0].items() if key != "alg"})  # type: ignore[arg-type]
    assert read.kid == public.thumbprint()
    name = "Ed25519" if algorithm == "EdDSA" else algorithm
    if name == algorithm:
        assert jwt.decode(read.sign({"sub": "7"}), KeySet([public]), algorithms=[name]).claims == {"sub": "7"}


def test_a_secret_is_not_published_and_its_id_does_not_show_it(tmp_path: Path) -> None:
    config = configured(tmp_path, f'key = "{SECRET}"')
    [key] = stamping.keys(config)
    assert stamping.published(config) == {"keys": []}
    assert key.kid == secret_kid(SECRET.encode()) != secret_kid(OTHER_SECRET.encode())
    assert jwt.decode(key.sign({"sub": "7"}), OctKey.import_key(SECRET), algorithms=["HS256"]).header["kid"] == key.kid


def test_the_first_of_several_signs_and_all_are_published(tmp_path: Path) -> None:
    old, new = private("ES256"), private("ES256")
    (tmp_path / "old.pem").write_text(pem(old))
    (tmp_path / "new.pem").write_text(pem(new))
    config = configured(tmp_path, 'keys = [{ key_file = "old.pem" }, { key_file = "new.pem" }]')
    stamps = stamping.stamps(config)
    assert stamps is not None
    kids = [each["kid"] for each in stamping.published(config)["keys"]]
    assert len(set(kids)) == 2
    assert stamps.kid == kids[0] == read_key(pem(old)).kid


def test_what_was_remembered_goes_on_where_nothing_of_it_has_changed(tmp_path: Path) -> None:
    before = stamping.stamps(configured(tmp_path, f'key = "{SECRET}"'))
    assert stamping.stamps(configured(tmp_path, f'keys = ["{SECRET}", "{OTHER_SECRET}"]'), before) is before
    assert stamping.stamps(configured(tmp_path, f'key = "{OTHER_SECRET}"'), before) is not before
    assert stamping.stamps(configured(tmp_path, f'key = "{SECRET}"\nttl = "30s"'), before) is not before


def test_a_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = pem(private("EdDSA"))
    monkeypatch.setenv("BANYAN_STAMP_KEY", key)
    assert stamping.keys(configured(tmp_path, 'key = "${BANYAN_STAMP_KEY}"'))[0].algorithm == "EdDSA"


def test_what_check_has_read_holds_whatever_the_file_becomes(tmp_path: Path) -> None:
    file = tmp_path / "stamp.pem"
    file.write_text(pem(private("ES256")))
    config = configured(tmp_path, 'key_file = "stamp.pem"')
    stamping.check(config)
    kid = stamping.keys(config)[0].kid
    file.write_text("gone")
    assert stamping.keys(config)[0].kid == kid


@pytest.mark.parametrize(
    ("stamp", "says"),
    [
        ('key = "short-secret"', "at least 32 characters"),
        (f'key = "{SECRET} {SECRET}"', "no spaces"),
        (f'key = "{SECRET}"\nkey_file = "stamp.pem"', "either"),
        ('ttl = "60s"', 'write either key = "${BANYAN_STAMP_KEY}" or key_file'),
        (f'key = "{SECRET}"\nkeys = ["{OTHER_SECRET}"]', "either one key or keys"),
        ("keys = []", "one or more"),
        (f'key = "{SECRET}"\nttl = "5s"', '"10s" to "10m"'),
        (f'key = "{SECRET}"\nttl = "11m"', '"10s" to "10m"'),
        (f'key = "{SECRET}"\nissuer = ""', "write a name"),
        (f'key = "{SECRET}"\nalgorithm = "ES256"', "is a key for HS256, and algorithm says ES256"),
        ('key_file = "stamp.pem"\nalgorithm = "HS256"', "HS256 is signed with a secret"),
        (f'key = "{SECRET}"\nalgorithm = "none"', "expected"),
        (f'key = "{SECRET}"\nkid = "mine"', "unknown key"),
    ],
)
def test_a_mistake_is_one_clear_error_without_the_secret(tmp_path: Path, stamp: str, says: str) -> None:
    message = errors(tmp_path, stamp)
    assert says in message
    assert "identity.stamp" in message
    assert SECRET not in message
    assert "short-secret" not in message


def test_a_stamp_that_is_only_a_key_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text(f'{TOML}stamp = "{SECRET}"\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "write a table" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_without_a_source_nobody_is_stamped_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text(f'[upstreams]\nlegacy = "http://127.0.0.1:1"\n[identity]\nstamp = {{ key = "{SECRET}" }}\n')
    with pytest.raises(ConfigError, match='nobody is ever stamped as long as source is "none"'):
        load(path)


def unfit() -> list[Any]:
    good = private("ES256")
    return [
        pytest.param(public_pem(good), "public key", id="public"),
        pytest.param(pem(good, "secret"), "is encrypted", id="encrypted"),
        pytest.param(pem(ec.generate_private_key(ec.SECP384R1())), "another curve", id="curve"),
        pytest.param(pem(rsa.generate_private_key(65537, 1024)), "1024 bits", id="short RSA"),  # noqa: S505 - that is the point
        pytest.param(pem(good)[:80] + "\n-----END PRIVATE KEY-----\n", "cannot be read", id="truncated"),
        pytest.param("", "holds no PEM", id="empty"),
        pytest.param(SECRET, "holds no PEM", id="secret"),
    ]


@pytest.mark.parametrize(("content", "says"), unfit())
def test_a_file_that_is_no_private_key_is_refused_by_name(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "stamp.pem").write_text(content)
    with pytest.raises(stamping.StampKeyError) as caught:
        stamping.check(configured(tmp_path, 'key_file = "stamp.pem"'))
    message = str(caught.value)
    assert says in message
    assert str(tmp_path / "stamp.pem") in message
    assert "identity.stamp" in message
    for line in content.splitlines():
        assert len(line) < 30 or line not in message


def test_a_file_that_is_not_there_and_the_same_key_twice(tmp_path: Path) -> None:
    with pytest.raises(stamping.StampKeyError, match=r"gone\.pem: No such file"):
        stamping.check(configured(tmp_path, 'key_file = "gone.pem"'))
    (tmp_path / "a.pem").write_text(pem(private("ES256")))
    with pytest.raises(stamping.StampKeyError, match=r"keys\[1\]: is the same key as identity\.stamp\.keys\[0\]"):
        stamping.check(configured(tmp_path, 'keys = [{ key_file = "a.pem" }, { key_file = "a.pem" }]'))


def test_nothing_shows_a_key(tmp_path: Path) -> None:
    text = pem(private("ES256"))
    load_pem_private_key(text.encode(), None)  # it is one
    config = configured(tmp_path, f'keys = ["{SECRET}", {{ key = """{text}""" }}]')
    shown = f"{config!r} {masked(config)} {stamping.keys(config)!r} {config.identity.stamp!r}"
    assert SECRET not in shown
    assert text.splitlines()[1] not in shown
