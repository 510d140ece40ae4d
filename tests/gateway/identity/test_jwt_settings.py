"""[identity.jwt]: each mistake in one line that says what would be right, and none that says a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, parse
from gateway.masking import masked
from gateway.usable import unfit_keys
from tests.support.tokens import SECRET, jwk, key, pem, weak

BASE = '[upstreams]\nlegacy = "http://127.0.0.1:1"\n'
JWKS = 'jwks_url = "https://login.test/jwks"'
RS = 'algorithms = ["RS256"]'
HS = 'algorithms = ["HS256"]'


def load(folder: Path, jwt: str, identity: str = 'source = "jwt"') -> Config:
    table = f"[identity.jwt]\n{jwt}\n" if jwt else ""
    return parse(folder / "banyan.toml", f"{BASE}[identity]\n{identity}\n{table}")


def problem(folder: Path, jwt: str, identity: str = 'source = "jwt"') -> str:
    with pytest.raises(ConfigError) as refused:
        load(folder, jwt, identity)
    (found,) = refused.value.problems
    assert "\n" not in found
    return found


def test_the_smallest(tmp_path: Path) -> None:
    config = load(tmp_path, f"{RS}\n{JWKS}")
    assert config.identity.credential == ("", "Bearer")
    jwt = config.identity.jwt
    assert jwt is not None
    assert (jwt.user_claim, jwt.leeway, jwt.jwks_refresh, jwt.jwks_timeout, jwt.jwks_pause) == ("sub", 30.0, 600.0, 5.0, 30.0)


def test_what_the_credential_is_can_be_said(tmp_path: Path) -> None:
    said = load(tmp_path, f"{RS}\n{JWKS}", 'source = "jwt"\ncookie = "access"\nscheme = "JWT"')
    assert said.identity.credential == ("access", "JWT")
    assert load(tmp_path, "", 'source = "introspection"').identity.credential == ("sessionid", "")


@pytest.mark.parametrize(
    ("jwt", "expected"),
    [
        (JWKS, "identity.jwt.algorithms: is missing: add  algorithms ="),
        (f"algorithms = []\n{JWKS}", "identity.jwt.algorithms: name those"),
        (f'algorithms = ["none"]\n{JWKS}', "identity.jwt.algorithms[0]: expected 'HS256', 'RS256'"),
        (f'algorithms = ["HS512"]\n{JWKS}', "identity.jwt.algorithms[0]: expected"),
        (RS, "identity.jwt: there is no key; add  jwks_url"),
        (f'algorithms = ["HS256"]\n{JWKS}', "identity.jwt: algorithms: HS256 goes by a secret"),
        (f'algorithms = ["HS256", "RS256"]\n{JWKS}', "identity.jwt: algorithms: HS256 goes by a secret"),
        (f'{RS}\njwks_url = "ftp://x/"', "identity.jwt.jwks_url: write an address such as"),
        (f'{RS}\njwks_url = "login.test/jwks"', "identity.jwt.jwks_url: write an address such as"),
        (f'{RS}\njwks_url = "https://x:port/"', "identity.jwt.jwks_url: write an address such as"),
        (f'{RS}\njwks_url = "https://[x/"', "identity.jwt.jwks_url: write an address such as"),
        (f'{RS}\njwks_url = "https://me:geheim@login.test/"', "identity.jwt.jwks_url: holds a user's name or password"),
        (f'{RS}\njwks_url = "https://login.test/#x"', "identity.jwt.jwks_url: has a #"),
        (f'{RS}\njwks_url = "http://login.test/jwks"', "identity.jwt: jwks_url: whoever is on the way"),
        (f'{RS}\n{JWKS}\nleeway = "6m"', "identity.jwt.leeway: tokens would hold that much longer"),
        (f'{RS}\n{JWKS}\njwks_timeout = "2m"', "identity.jwt.jwks_timeout: a start may have to wait"),
        (f'{RS}\n{JWKS}\njwks_timeout = "0s"', "identity.jwt.jwks_timeout: in no time nothing can happen"),
        (f'{RS}\n{JWKS}\njwks_pause = "10ms"', "identity.jwt.jwks_pause: no key server should be asked that often"),
        (f'{RS}\n{JWKS}\njwks_refresh = "10ms"', "identity.jwt.jwks_refresh: no key server should be asked that often"),
        (f'{RS}\n{JWKS}\naudience = ""', "identity.jwt.audience: write what tokens"),
        (f'{RS}\n{JWKS}\nissuer = ""', "identity.jwt.issuer: is empty"),
        (f'{RS}\n{JWKS}\nuser_claim = ""', "identity.jwt.user_claim: is empty"),
        (f"{RS}\n{JWKS}\njwks = 1", "identity.jwt.jwks: unknown key"),
        (f'{RS}\nkeys = [{{ public_key = "k.pem" }}]', "identity.jwt.keys[0].algorithm: is missing"),
        (f'{RS}\nkeys = [{{ algorithm = "RS256" }}]', 'identity.jwt.keys[0]: algorithm = "RS256" needs public_key'),
        (f'{RS}\nkeys = [{{ algorithm = "RS256", secret = "{SECRET}" }}]', 'identity.jwt.keys[0]: algorithm = "RS256" needs public_key'),
        (f'{HS}\nkeys = [{{ algorithm = "HS256", public_key = "k.pem" }}]', 'identity.jwt.keys[0]: algorithm = "HS256" needs secret'),
        (f'{HS}\nkeys = [{{ algorithm = "HS256", secret = "gar zu kurz" }}]', "identity.jwt.keys[0]: secret: is too short for HS256"),
        (f'{RS}\nkeys = [{{ algorithm = "ES256", public_key = "k.pem" }}]', "identity.jwt: keys: one is for ES256, which"),
        ('algorithms = ["RS256", "ES256"]\nkeys = [{ algorithm = "RS256", public_key = "k" }]', "identity.jwt: algorithms: there is no"),
        (f'{RS}\nkeys = [{{ kid = "", algorithm = "RS256", public_key = "k.pem" }}]', "identity.jwt.keys[0].kid: write the name"),
        (f'{RS}\nkeys = [{{ algorithm = "RS256", public_key = "{{}}" }}]', "identity.jwt.keys[0]: public_key: this JWK is not for RS256"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, jwt: str, expected: str) -> None:
    found = problem(tmp_path, jwt)
    assert found.startswith(expected)
    for secret in ("geheim", SECRET, "gar zu kurz"):
        assert secret not in found


def test_table_and_source_go_together(tmp_path: Path) -> None:
    assert problem(tmp_path, "").startswith('identity: source = "jwt" needs [identity.jwt]')
    for source in ("none", "introspection"):
        assert problem(tmp_path, f"{RS}\n{JWKS}", f'source = "{source}"').startswith(
            f'identity: [identity.jwt] is not used while source is "{source}"'
        )
    nothing = 'source = "jwt"\nscheme = ""'
    assert problem(tmp_path, f"{RS}\n{JWKS}", nothing).startswith("identity: cookie and scheme are both empty")


def test_two_keys_of_one_name_and_too_many_without(tmp_path: Path) -> None:
    one = f'{{ kid = "a", algorithm = "RS256", public_key = {json.dumps(pem("RS256"))} }}'
    assert problem(tmp_path, f"{RS}\nkeys = [{one}, {one}]") == "identity.jwt: keys: two have the kid 'a'; a name stands for one key"
    nameless = f'{{ algorithm = "RS256", public_key = {json.dumps(pem("RS256"))} }}'
    assert "have no kid, and all would be tried" in problem(tmp_path, f"{RS}\nkeys = [{', '.join([nameless] * 9)}]")


def test_keys_that_nobody_should_use(tmp_path: Path) -> None:
    private = key("RS256").as_pem(private=True).decode()
    for text, expected in (
        (weak().as_pem().decode(), "an RSA key of 1024 bits"),
        (private, "this is a private key"),
        (json.dumps(key("RS256").as_dict(private=True)), "there is a private key in this JWK"),
        (pem("ES256"), "this is no public key for RS256"),
    ):
        found = problem(tmp_path, f'{RS}\nkeys = [{{ algorithm = "RS256", public_key = {json.dumps(text)} }}]')
        assert expected in found
        assert text[40:60] not in found


def test_a_key_that_is_a_secret_with_a_public_key_in_it(tmp_path: Path) -> None:
    text = f'algorithms = ["HS256"]\nkeys = [{{ algorithm = "HS256", secret = {json.dumps(pem("RS256"))} }}]'
    assert "this is no secret, but a key for another algorithm" in problem(tmp_path, text)


def test_files_are_judged_before_a_start_and_held(tmp_path: Path) -> None:
    config = load(tmp_path, f'{RS}\nkeys = [{{ algorithm = "RS256", public_key = "k.pem" }}]')
    (missing,) = unfit_keys(config)
    assert missing == f"identity.jwt.keys[0].public_key: {tmp_path / 'k.pem'}: No such file or directory. Name another file"
    (tmp_path / "k.pem").write_text(pem("EdDSA"))
    (other,) = unfit_keys(config)
    assert other == f"identity.jwt.keys[0].public_key: this is no public key for RS256 in PEM: {tmp_path / 'k.pem'}"
    (tmp_path / "k.pem").write_text(pem("RS256"))
    assert unfit_keys(config) == []
    (tmp_path / "k.pem").unlink()
    assert config.content("k.pem") == pem("RS256").encode()


def test_the_command_says_it_too(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text(f'{BASE}[identity]\nsource = "jwt"\n[identity.jwt]\n{RS}\nkeys = [{{ algorithm = "RS256", public_key = "k.pem" }}]\n')
    command = [sys.executable, "-m", "gateway.cli", "check", "--config", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode != 0
    assert "identity.jwt.keys[0].public_key" in found.stderr


def test_nothing_that_is_shown_holds_a_secret(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        'algorithms = ["HS256"]\n' + f'keys = [{{ algorithm = "HS256", secret = "{SECRET}" }}]',
    )
    url = load(tmp_path, f'{RS}\njwks_url = "https://login.test/jwks?key=geheim"')
    for shown in (repr(config), json.dumps(masked(config)), repr(url), json.dumps(masked(url))):
        assert SECRET not in shown
        assert "geheim" not in shown


def test_an_origin_changes_with_the_place_and_the_algorithms_and_says_nothing(tmp_path: Path) -> None:
    def origin(jwt: str) -> str:
        found = load(tmp_path, jwt).identity.jwt
        assert found is not None
        return found.origin

    one = origin(f"{RS}\n{JWKS}")
    assert one == origin(f'{RS}\n{JWKS}\nissuer = "x"\njwks_pause = "1m"')
    others = {origin(f'{RS}\njwks_url = "https://login.test/jwks?key=geheim"'), origin(f'algorithms = ["ES256", "RS256"]\n{JWKS}')}
    assert len(others | {one}) == 3
    assert "geheim" not in "".join(others)
    assert origin(f'{RS}\nkeys = [{{ algorithm = "RS256", public_key = {json.dumps(json.dumps(jwk("RS256")))} }}]') == ""
