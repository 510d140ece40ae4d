"""Certificates: which one a client sees, and what is said about files that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from gateway.config import load
from gateway.tls import Certificates, Front, Pair, TlsError, check_upstreams
from tests.support.certificates import Authority


def pair(paths: tuple[Path, Path]) -> Pair:
    return Pair(*(path.read_bytes() for path in paths))


def seen(front: Front, authority: Authority, name: str | None) -> list[str]:
    """The names in the certificate that a client sees which asks for `name`."""
    client_context = authority.client()
    client_context.check_hostname = False
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    server = front.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            pass
    certificate = client.getpeercert()
    assert certificate
    return [value for _, value in certificate["subjectAltName"]]


def test_the_name_that_is_asked_for_chooses_the_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    front = Front()
    front.take([pair(authority.issue("a", "Shop.test", "*.shop.test")), pair(authority.issue("b", "other.test", "api.shop.test"))])
    a, b = ["Shop.test", "*.shop.test"], ["other.test", "api.shop.test"]
    for name, expected in {
        "shop.test": a,
        "SHOP.TEST": a,
        "www.shop.test": a,
        "api.shop.test": b,  # the whole name goes before a wildcard
        "deep.www.shop.test": a,  # no wildcard for two labels: the first certificate
        "other.test": b,
        "unknown.test": a,
    }.items():
        assert seen(front, authority, name) == expected, name
    assert seen(front, authority, None) == a
    front.take([pair(authority.issue("c", "shop.test"))])
    assert seen(front, authority, "shop.test") == ["shop.test"]
    assert seen(front, authority, "other.test") == ["shop.test"]


def test_nothing_is_offered_but_what_is_served(tmp_path: Path) -> None:
    front = Front()
    front.take([pair(Authority(tmp_path).issue("a", "shop.test"))])
    chosen = front.choose("shop.test")
    assert chosen is not None
    for context in (front.context, chosen):
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


def tls_1_1(context: ssl.SSLContext) -> ssl.SSLContext:
    for bound in ("minimum_version", "maximum_version"):
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            setattr(context, bound, ssl.TLSVersion.TLSv1_1)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def test_tls_1_1_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    front = Front()
    front.take([pair(authority.issue("a", "shop.test"))])

    def hello(server: ssl.SSLContext) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = tls_1_1(authority.client()).wrap_bio(to_client, to_server, server_hostname="shop.test")
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        server.wrap_bio(to_server, to_client, server_side=True).do_handshake()

    with pytest.raises(ssl.SSLWantReadError):
        hello(tls_1_1(authority.server("b", "shop.test")))  # one that knows it goes on
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        hello(front.context)


TOML = '[gateway]\ntls = {{ certificate = "{0}.pem", key = "{1}.key" }}\n[upstreams]\nlegacy = "http://127.0.0.1:1"\n'


def refused(folder: Path, toml: str) -> str:
    path = folder / "banyan.toml"
    path.write_text(toml)
    config = load(path)
    with pytest.raises(TlsError) as error:
        _ = Certificates(config).read(), check_upstreams(config)
    assert "\n" not in str(error.value)
    assert "PRIVATE" not in str(error.value)
    return str(error.value)


def test_each_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("a", "a.test")
    authority.issue("b", "b.test")
    authority.issue("locked", "a.test", password=b"secret")
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "text.key").write_text("no key")
    for files, expected in {
        ("none", "a"): f"gateway.tls.certificate: {tmp_path}/none.pem: No such file or directory. Name another file",
        ("a", "none"): f"gateway.tls.key: {tmp_path}/none.key: No such file or directory. Name another file",
        ("text", "a"): f"gateway.tls.certificate: {tmp_path}/text.pem holds no certificate in PEM. Name another file",
        ("a", "text"): f"gateway.tls.key: {tmp_path}/text.key holds no private key in PEM that can be used. Name another file",
        ("a", "b"): f"gateway.tls.key: {tmp_path}/b.key is not the key of the certificate in {tmp_path}/a.pem",
        ("a", "locked"): f"gateway.tls.key: {tmp_path}/locked.key is encrypted. Name a key without a passphrase, readable for the gateway",
    }.items():
        assert refused(tmp_path, TOML.format(*files)).startswith(expected)
    several = TOML.format("a", "a").replace("tls = {", 'tls = [{ certificate = "a.pem", key = "a.key" }, {').replace(" }\n[up", " }]\n[up")
    assert refused(tmp_path, several.replace('"a.pem", key = "a.key" }]', '"b.pem", key = "none.key" }]')).startswith(
        "gateway.tls[1].key: "
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('ca = "none.pem"', "upstreams.legacy.tls.ca: {folder}/none.pem: No such file or directory. Name another file"),
        ('ca = "text.pem"', "upstreams.legacy.tls.ca: {folder}/text.pem holds no certificate in PEM. Name another file"),
        ('certificate = "a.pem", key = "none.key"', "upstreams.legacy.tls.key: {folder}/none.key: No such file or directory"),
        ('certificate = "a.pem", key = "b.key"', "upstreams.legacy.tls.key: {folder}/b.key is not the key of the certificate in "),
    ],
)
def test_the_same_for_upstreams(tmp_path: Path, keys: str, expected: str) -> None:
    authority = Authority(tmp_path)
    authority.issue("a", "a.test")
    authority.issue("b", "b.test")
    (tmp_path / "text.pem").write_text("no certificate")
    toml = f'[upstreams.legacy]\nurl = "https://127.0.0.1:1"\ntls = {{ {keys} }}\n'
    assert refused(tmp_path, toml).startswith(expected.format(folder=tmp_path))


def test_warnings(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("old", "a.test", days=(-30, -1))
    authority.issue("early", "a.test", days=(1, 30))
    path = tmp_path / "banyan.toml"
    for name, expected in {"old": "has expired (", "early": "is not valid before "}.items():
        path.write_text(TOML.format(name, name))
        (said,) = Certificates(load(path)).read()
        assert said.startswith(f"gateway.tls.certificate: {tmp_path}/{name}.pem {expected}")
    path.write_text(
        '[upstreams]\nlegacy = "http://127.0.0.1:1"\n[upstreams.new]\nurl = "https://a.test"\n'
        'tls = { verify = false, certificate = "old.pem", key = "old.key" }\n'
    )
    unverified, expired = check_upstreams(load(path))
    assert unverified == "upstreams.new.tls.verify = false: whoever answers at https://a.test is believed to be it"
    assert expired.startswith(f"upstreams.new.tls.certificate: {tmp_path}/old.pem has expired (")


def test_a_change_is_read_once_it_has_settled_and_a_broken_one_is_said_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("a", "a.test")
    path = tmp_path / "banyan.toml"
    path.write_text(TOML.format("a", "a"))
    certificates = Certificates(load(path))
    certificates.read()
    (before,) = certificates.pairs
    nothing: tuple[bool, list[str], list[str]] = (False, [], [])
    assert certificates.look() == nothing
    old = key.read_bytes()
    authority.issue("a", "b.test")
    new = key.read_bytes()
    key.write_bytes(old)  # only the certificate is new so far
    assert certificates.look() == nothing
    key.write_bytes(new)
    assert certificates.look() == nothing, "it has just changed"
    assert certificates.look() == (True, [], [])
    assert certificates.look() == nothing
    (after,) = certificates.pairs
    assert after.certificate == certificate.read_bytes() != before.certificate
    key.write_text("broken")
    assert certificates.look() == nothing
    changed, _, (error,) = certificates.look()
    assert not changed
    assert error.startswith(f"gateway.tls.key: {key} holds no private key")
    assert error.endswith("The last good one goes on being used")
    assert certificates.look() == nothing
    assert certificates.pairs == [after]
    key.unlink()
    assert certificates.look() == nothing
    assert "No such file" in certificates.look()[2][0]
    assert certificates.look() == nothing
    # As Kubernetes does it: a link that is turned, with equal sizes and whatever times.
    authority.issue("c", "c.test")
    for name in (certificate, key):
        name.unlink(missing_ok=True)
        name.symlink_to(name.with_stem("c"))
    certificates.look()
    assert certificates.look() == (True, [], [])


def test_keys_are_never_printed(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    found = pair(authority.issue("a", "a.test"))
    assert "PRIVATE" not in repr(found)
