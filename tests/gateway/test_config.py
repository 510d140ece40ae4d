"""Bad input: one clear line each, naming the key and what would be right."""

import base64
import datetime as dt
import math
import traceback
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from gateway.config import MISSING, ConfigError, load, parse
from gateway.masking import masked
from gateway.net.head import parse_request
from gateway.net.lines import CREDENTIALS, REQUEST
from gateway.reload import for_the_shipper
from gateway.settings import Config, Route, Upstream
from gateway.settings.domains import Domains
from gateway.settings.jwt import Jwt, JwtKey
from gateway.settings.rate_limit import RateLimit
from shadow.sinks.remote import place_of

GOOD = """
[upstreams]
legacy = "http://127.0.0.1:8001"
reviews = "http://127.0.0.1:8101"
[[routes]]
name = "reviews"
match = "/api/v1/reviews/*"
candidate = "reviews"
"""


def split(providers: str) -> str:
    return GOOD.replace('candidate = "reviews"', f"split = {providers}")


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "banyan.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: ")
    return refused.value.problems


def test_the_smallest_useful_file(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text(GOOD)
    config = load(path)
    (route,) = config.routes
    assert (route.serve_flag, route.shadow_flag, route.fallback, route.shadow.sample) == ("reviews", "reviews.shadow", True, 1.0)
    assert config.upstreams["legacy"].address == ("127.0.0.1", 8001)
    assert config.gateway.listen == ["127.0.0.1:8080"]
    assert config.resolve("flags.json") == tmp_path / "flags.json"


def test_a_split_route_has_providers_and_a_flag_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text(split("{ legacy = 70, reviews = 30 }"))
    config = load(path)
    (route,) = config.routes
    assert (route.split, route.sticky, route.candidate) == ({"legacy": 70, "reviews": 30}, "user", "")
    assert route.flags == {"reviews.split": "split"}
    path.write_text(split("{ reviews = 1 }\nflag = 'pay'\nsticky = 'random'"))
    (route,) = load(path).routes
    assert (route.flags, route.sticky) == ({"pay.split": "split"}, "random")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "fallbck = false", ["routes[0].fallbck (route 'reviews'): unknown key"]),
        ("[gateway]\nlisten = ['8080']\n" + GOOD, ['gateway.listen: write "host:port"']),
        ("[gateway]\nadmin = '0.0.0.0:9900'\n" + GOOD, ["gateway.admin: the admin port has no token yet"]),
        ("[gateway.limits]\nidle_timeout = 75\n" + GOOD, ["gateway.limits.idle_timeout: write a duration with its unit"]),
        ("[gateway.limits]\nheader_bytes = '32 kilo'\n" + GOOD, ["gateway.limits.header_bytes: write a size with its unit"]),
        ("[[routes]]\nname = 'a'\nmatch = '/a'\ncandidate = 'b'", ["upstreams: is missing"]),
        ("[upstreams]\nreviews = 'http://127.0.0.1:1'", ["upstreams.legacy is missing"]),
        (GOOD.replace('candidate = "reviews"', 'candidate = "reveiws"'), ["route 'reviews': candidate 'reveiws' is not under [upstreams]"]),
        (GOOD.replace('candidate = "reviews"', 'candidate = "legacy"'), ["the candidate cannot be legacy itself"]),
        (GOOD.replace("/api/v1/reviews/*", "api/*"), ["routes[0].match (route 'reviews'): a path starts with /"]),
        (GOOD.replace("/api/v1/reviews/*", "/api/*/x"), ["'*' is not a segment"]),
        (GOOD + "rewrite = '/r/{id}'", ["rewrite uses {id}"]),
        (GOOD + GOOD[GOOD.index("[[") :], ["two routes are named 'reviews'"]),
        (
            GOOD + "[[routes]]\nname = 'other'\nmatch = '/other'\ncandidate = 'reviews'\nflag = 'reviews.shadow'",
            ["route 'other': its serve flag 'reviews.shadow' is the shadow flag of route 'reviews': give it another (flag = …)"],
        ),
        (
            GOOD + GOOD[GOOD.index("[[") :].replace('name = "reviews"', 'name = "other"'),
            ["routes 'reviews' and 'other' match the same requests"],
        ),
        (GOOD.replace("http://127.0.0.1:8101", "ftp://x"), ["upstreams.reviews.url: write"]),
        (GOOD + "[upstreams.two]\nurls = ['http://a:1', 'http://a:1']", ["upstreams.two.urls: the same address is there twice"]),
        (GOOD + "[upstreams.two]\nurls = ['http://a:1']\nurl = 'http://a:1'", ["upstreams.two: write either url ="]),
        (GOOD + "[upstreams.two]\nconnect_timeout = '1s'", ["upstreams.two: write either url ="]),
        (GOOD + "[upstreams.two]\nurls = ['http://u:hunter2@a:1']", ["upstreams.two.urls: a user or a password cannot be part of it"]),
        (GOOD + "[upstreams.two]\nurl = 'http://a:1'\nbreaker = true", ["upstreams.two.breaker: there is one anyway"]),
        (GOOD + "[upstreams.two]\nurl = 'http://a:1'\nbreaker = { errors = 1.5 }", ["upstreams.two.breaker.errors: expected 1 or less"]),
        (GOOD + "[upstreams.two]\nurl = 'http://a:1'\nbreaker = { share = 0.5 }", ["upstreams.two.breaker.share: unknown key"]),
        (GOOD + "[upstreams.two]\nurl = 'http://a:1'\nhealth = { path = 'up' }", ["upstreams.two.health.path: a path starts with /"]),
        (GOOD + "[upstreams.two]\nurl = 'http://a:1'\nhealth = { interval = '1s' }", ["upstreams.two.health.path"]),
        (GOOD.replace("http://127.0.0.1:8101", "unix:reviews"), ["upstreams.reviews.url: write an absolute path"]),
        (GOOD.replace("http://127.0.0.1:8101", "http://a:0"), ["upstreams.reviews.url: its host or its port cannot be one; write"]),
        (GOOD.replace("http://127.0.0.1:8101", "http://a:x"), ["upstreams.reviews.url: its host or its port cannot be one; write"]),
        (GOOD.replace("http://127.0.0.1:8101", "http://[a"), ["upstreams.reviews.url: its host or its port cannot be one; write"]),
        (GOOD.replace("http://127.0.0.1:8101", "http://a b:1"), ["upstreams.reviews.url: its host cannot be one"]),
        (GOOD.replace("http://127.0.0.1:8101", "http://a\\nb:1"), ["upstreams.reviews.url: its host cannot be one"]),
        (
            GOOD.replace("http://127.0.0.1:8101", "http://u:hunter2@a:1"),
            ["upstreams.reviews.url: a user or a password cannot be part of it"],
        ),
        (
            '[flags]\nsource = "unleash"\nurl = "notaurl"\ntoken = "ab"\n' + GOOD,
            ["flags.url: expected Unleash's API address, such as http://unleash.internal:4242/api, without credentials"],
        ),
        (
            '[flags]\nsource = "unleash"\nurl = "http://a/api"\ntoken = "a\\nb"\n' + GOOD,
            ["flags.token: empty, or with spaces or line ends"],
        ),
        (
            '[flags]\nsource = "unleash"\nurl = "http://a:0/api"\ntoken = "a b"\nadmin_token = "a b"\n' + GOOD,
            ["flags.url: expected Unleash's API address", "flags.token: empty, or with", "flags.admin_token: empty, or with"],
        ),
        ('[flags]\nsource = "unleash"\nurl = "http://[a/api"\ntoken = "ab"\n' + GOOD, ["flags.url: expected Unleash's API address"]),
        ('[flags]\nrefresh = "0s"\n' + GOOD, ['flags.refresh: nobody can ask Unleash that often; write "50ms" or more']),
        ("[shadow]\nsink = 'kafka'\n" + GOOD, ["shadow.sink: expected 'local' or 'jetstream'"]),
        ("[shadow]\nnats = 'http://a:1'\n" + GOOD, ['shadow.nats: write "nats://host:4222" or "tls://host:4222"']),
        ("[shadow]\nnats = []\n" + GOOD, ['shadow.nats: write "nats://host:4222" or "tls://host:4222"']),
        ("[shadow]\nnats = 'nats://a:hunter2@b:1'\n" + GOOD, ["shadow.nats: a user, a password or a token cannot be part of it"]),
        ("[shadow]\nnats = ['nats://a:1', 'nats://b:x']\n" + GOOD, ['shadow.nats: write "nats://host:4222"']),
        ("[shadow.jetstream]\nstream = 'a.b'\n" + GOOD, ["shadow.jetstream.stream: a stream's name has up to 64 letters"]),
        ("[shadow.jetstream]\nuser = 'a'\n" + GOOD, ["shadow.jetstream: user and password belong together"]),
        (
            "[shadow.jetstream]\nuser = 'a'\npassword = 'b'\ntoken = 'c'\n" + GOOD,
            ["shadow.jetstream: write one of token, user and password, credentials, and nkey"],
        ),
        ("[shadow.jetstream]\nmax_bytes = '1KiB'\n" + GOOD, ["shadow.jetstream: max_bytes has no room for one message"]),
        ("[shadow.jetstream]\nmax_message = '1KiB'\n" + GOOD, ['shadow.jetstream.max_message: write "64KiB" or more']),
        ("[shadow.jetstream]\nreplicas = 6\n" + GOOD, ["shadow.jetstream.replicas: expected 5 or less"]),
        ("[shadow.jetstream]\nca = 'ca.pem'\n" + GOOD, ["shadow: jetstream.ca is for tls:// addresses, and nats has none"]),
        ("routes = ['x']\n" + GOOD[: GOOD.index("[[")], ["routes[0]: write [[routes]] with double brackets"]),
        (GOOD.replace('match = "/api/v1/reviews/*"\n', ""), ["routes[0].match (route 'reviews'): is missing: add  match = \"/api/v1"]),
        ("[gateway]\nworkers = 300\n" + GOOD, ["gateway.workers: expected 256 or less"]),
        ("[gateway]\nlisten = []\n" + GOOD, ['gateway.listen: expected a list with something in it: ["…"]']),
        ("[gateway]\ntrusted_proxies = ['10.0.0.1/8']\n" + GOOD, ["gateway.trusted_proxies: write networks such as"]),
        ("[gateway]\ntrusted_proxies = [10]\n" + GOOD, ["gateway.trusted_proxies: write networks such as"]),
        ("[upstreams.'a\"b']\nurl = 'http://127.0.0.1:1'\n" + GOOD, ["upstreams: an upstream's name is letters"]),
        (GOOD + "[routes.guard]\nwindow = '1s'", ['routes[0].guard.window (route \'reviews\'): write a window from "5s" to "1h"']),
        (GOOD + "[routes.guard]\nerrors = 1.5", ["routes[0].guard.errors (route 'reviews'): expected"]),
        (GOOD + "[routes.guard]\nlatency = 0.5", ["routes[0].guard.latency (route 'reviews'): expected 1 or more"]),
        (GOOD + "[routes.guard]\nminimum = 1", ["routes[0].guard.minimum (route 'reviews'): expected 10 or more"]),
        (
            GOOD + "[routes.guard]\nmismatch = 0.01\n[routes.shadow]\nsample = 0",
            ["guard.mismatch watches what is compared, and of this route nothing is: shadow.sample is 0"],
        ),
        (
            GOOD + "methods = ['POST']\n[routes.guard]\nmismatch = 0.01",
            ["guard.mismatch watches what is compared, and of this route nothing is: none of its methods is among shadow.methods"],
        ),
        (
            "[shadow]\nsink = 'jetstream'\n" + GOOD + "[routes.guard]\nmismatch = 0.01",
            ["route 'reviews': guard.mismatch counts what shadow workers write to shadow.database, and with sink = 'jetstream' a SQLite"],
        ),
        (split("{ reviews = 1 }") + "[routes.guard]", ["guard: means nothing with split, which has no candidate; remove it"]),
        (
            '[flags]\nsource = "unleash"\nurl = "http://a/api"\ntoken = "ab"\n' + GOOD + "[routes.guard]",
            ["route 'reviews': guard turns the flag off in Unleash, and may not: set flags.admin_token"],
        ),
        ("[identity]\npath = 'x'\n" + GOOD, ["identity.path: write a path that starts with /"]),
        ("[identity]\ncookie = 'a b'\n" + GOOD, ["identity.cookie: write a cookie's name"]),
        ("[flags]\nsource = 'redis'\n" + GOOD, ["flags.source: expected 'file' or 'unleash'"]),
        ("[identity]\nvisitor = {key = 'kkkkkkkkkkkkkkkk', cookie = 'sessionid'}\n" + GOOD, ["'sessionid' is legacy's session"]),
        ("[identity]\nvisitor = {key = 'kkkkkkkkkkkkkkkk', max_age = '0s'}\n" + GOOD, ["identity.visitor.max_age: it would be gone"]),
        ("[identity]\nvisitor = {key = 'kkkkkkkkkkkkkkkk', max_age = '59s'}\n" + GOOD, ["identity.visitor.max_age: it would be gone"]),
        ("[identity]\nvisitor = {key = 'kkkkkkkkkkkkkkkk', cookie = '__Host-v'}\n" + GOOD, ["'__Host-v' over TLS only, and nobody comes"]),
        ("[identity]\nvisitor = {key = 'kkkkkkkkkkkkkkkk', cookie = '__secure-v'}\n" + GOOD, ["'__secure-v' over TLS only, and nobody"]),
        ("[flags]\nheaders = ['X-Api']\n[shadow]\nredact = ['x-api']\n" + GOOD, ["flags.headers: 'x-api' is a secret by shadow.redact"]),
        ("[flags]\nheaders = ['x-api']\n[shadow]\nredact = ['X-API']\n" + GOOD, ["flags.headers: 'x-api' is a secret by shadow.redact"]),
        (
            "[flags]\nheaders = ['Traceparent']\n" + GOOD,
            ["'traceparent' is believed from gateway.trusted_proxies only, and there are none"],
        ),
        ("[flags]\noverrides = 'flags.json'\n" + GOOD, ["flags.path and flags.overrides name the same file, flags.json"]),
        ("[flags]\noverrides = 'x/../flags.json'\n" + GOOD, ["flags.path and flags.overrides name the same file"]),
        ("[flags]\nbackup = 'a'\noverrides = './a'\n" + GOOD, ["flags.overrides and flags.backup name the same file"]),
        ("[gateway]\naccess_log = 'a'\n[flags]\nimpressions = 'a'\n" + GOOD, ["gateway.access_log and flags.impressions name the same"]),
        ("[flags]\nimpressions = 'flags.json'\n" + GOOD, ["flags.path and flags.impressions name the same file"]),
        (GOOD + "flag = 'a b'", ["'a b', which is to be its flag, cannot be a flag's name"]),
        (GOOD.replace('name = "reviews"', f'name = "{"x" * 100}"'), [".shadow', which is to be its flag, cannot be a flag's name"]),
        (GOOD.replace("[[routes]]", "[routes]"), ["routes: write [[routes]] with double brackets, once for each route"]),
        (GOOD.replace('"http://127.0.0.1:8101"', "5"), ['upstreams.reviews: write "http://host:port", or a table with url']),
        ('upstreams = "x"\n', ['upstreams: write [upstreams] and below it  legacy = "http://host:port"']),
        ("[gateway]\nworkers = 'two'\n" + GOOD, ["gateway.workers: expected a whole number"]),
        ("[gateway]\nlisten = '127.0.0.1:1'\n" + GOOD, ['gateway.listen: expected a list: ["…", "…"]']),
        ("[gateway]\nadmin = 9900\n" + GOOD, ['gateway.admin: expected text in quotes: "…"']),
        ("gateway = 1\n" + GOOD, ["gateway: expected a table of its own: [section]"]),
        (GOOD + "fallback = 'perhaps'", ["routes[0].fallback (route 'reviews'): expected true or false"]),
        (GOOD.replace("http://127.0.0.1:8101", "http://x/path"), ["only scheme, host and port"]),
        (GOOD.replace("http://127.0.0.1:8101", "http://x:99999"), ["upstreams.reviews.url"]),
        (GOOD + "methods = ['get']", ["methods are upper-case"]),
        (
            GOOD + "[routes.shadow]\nmethods = ['GET', 'POST', 'PUT']",
            ["methods: POST, PUT would be executed a second time", "sandbox = true"],
        ),
        (GOOD + "[routes.shadow]\nmethods = ['post']\nsandbox = true", ["upper-case tokens"]),
        (GOOD + "[routes.shadow]\nmethods = ['POST', 'TRACE']\nsandbox = true", ["TRACE is not relayed"]),
        (GOOD + "[routes.shadow]\nsandbox = true", ["means nothing without a method that writes"]),
        (GOOD + "[routes.shadow]\nsandbox_legacy = true", ["means nothing without sandbox = true"]),
        (GOOD + "[routes.shadow]\nsample = 2.0", ["routes[0].shadow.sample"]),
        ("[flags]\nsource = 'unleash'\n" + GOOD, ['source = "unleash" needs url and token']),
        ("[flags]\ntoken = '${NO_SUCH_VARIABLE}'\n" + GOOD, ["flags.token: the environment has no NO_SUCH_VARIABLE"]),
        ("[gateway.limits]\nconnections = 0\n" + GOOD, ["gateway.limits.connections: expected 1 or more"]),
        *(
            (f"{section}{key} = {none}\n" + GOOD, [f"{where}.{key}: in no time nothing can happen; write more than 0, such as "])
            for section, where, keys_ in (
                ("[gateway.limits]\n", "gateway.limits", ("header_timeout", "idle_timeout", "drain_timeout")),
                ("[upstreams.new]\nurl = 'http://a'\n", "upstreams.new", ("connect_timeout", "response_timeout")),
                ("[shadow]\n", "shadow", ("timeout",)),
                ("[identity]\n", "identity", ("timeout",)),
            )
            for key in keys_
            for none in ("0", "0.0", "'0s'", "'0.0ms'")
        ),
        *(
            (
                f"[gateway.limits]\nheader_bytes = {less}\n" + GOOD,
                ['gateway.limits.header_bytes: no browser\'s head is that short; write "1KiB"'],
            )
            for less in ("0", "'0B'", "'1023B'")
        ),
        *(
            (f"[gateway.limits]\n{key} = {less}\n" + GOOD, [f"gateway.limits.{key}: write a {what} with its unit"])
            for key, what in (
                ("header_bytes", "size"),
                ("body_bytes", "size"),
                ("header_timeout", "duration"),
                ("drain_timeout", "duration"),
            )
            for less in ("-1", "'-1KiB'", "'-1s'")
        ),
        ("[identity]\nstamp = { key = 'x' }\n" + GOOD, ["identity.stamp: key: a secret for HS256 has at least 32 characters"]),
        ("[domains]\norder = []\nenforce = 'off'\n" + GOOD, ["domains.order: name at least one domain"]),
        ("[domains]\norder = ['a', [['b']]]\n" + GOOD, ["domains.order: write a list of names, and of lists of names"]),
        ("[domains]\norder = ['a', ['b', 'a']]\nenforce = 'off'\n" + GOOD, ["domains.order: a: each domain has one place"]),
        ("[domains]\norder = ['a', ['b', 'other']]\nenforce = 'off'\n" + GOOD, ["domains.order: no domain can be called 'other'"]),
        ("[domains]\norder = ['a b']\nenforce = 'off'\n" + GOOD, ["domains.order: a domain is letters, digits"]),
        ("[domains]\norder = ['a']\n" + GOOD, ['domains.enforce = "report" knows a caller by its stamp']),
        (GOOD + "domain = 'a'\n", ["domain means nothing without [domains] order"]),
        ("[domains]\norder = ['b']\nenforce = 'off'\n" + GOOD + "domain = 'a'\n", ["domain 'a' is not in domains.order (there: b)"]),
        ("[gateway.tls]\ncertificate = 'x'\n" + GOOD, ["gateway.tls[0].key: is missing"]),
        ("[gateway]\nlisten = ['https://127.0.0.1:1']\n" + GOOD, ["'https://127.0.0.1:1' needs a certificate: add  tls = {"]),
        ("[gateway]\nlisten = ['ftp://127.0.0.1:1']\n" + GOOD, ['gateway.listen: write "host:port"']),
        (
            GOOD + "[upstreams.new]\nurl = 'http://a'\ntls = { verify = false }",
            ["upstreams.new: tls is for https, and its address is not"],
        ),
        (
            GOOD + "[upstreams.new]\nurls = ['http://a', 'https://b']",
            ["upstreams.new: either all of its addresses are https://, or none is"],
        ),
        (
            "[gateway]\nproxy_protocol = true\ntls = { certificate = 'a', key = 'b' }\n" + GOOD,
            ["gateway: proxy_protocol comes before a TLS handshake"],
        ),
        (GOOD + "[upstreams.new]\nurl = 'https://a'\ntls = { key = 'x' }", ["upstreams.new.tls: certificate and key belong together"]),
        (GOOD + "[upstreams.new]\nurl = 'https://a'\ntls = { ca = 'x', verify = false }", ["verify = false makes `ca` mean nothing"]),
        (GOOD + "[upstreams.new]\nurl = 'https://a'\ntls = { verfy = false }", ["upstreams.new.tls.verfy: unknown key"]),
        (GOOD + "split = { reviews = 1 }", ["routes[0] (route 'reviews'): candidate and split exclude one another"]),
        (GOOD + "sticky = 'user'", ["routes[0] (route 'reviews'): sticky means nothing without split"]),
        (split("{}"), ["routes[0].split (route 'reviews'): names no provider: write { psp-a = 70"]),
        (split("{ reviews = 0, legacy = 1 }"), ["routes[0].split (route 'reviews'): the weight of 'reviews' is a whole number from 1 to"]),
        (
            split("{ reviews = 0, legacy = 0 }"),
            ["the weight of 'reviews' is a whole number from 1 to 1000000, and not 0: leave a provider"],
        ),
        (split("{ reviews = -5, legacy = 1 }"), ["the weight of 'reviews' is a whole number from 1 to 1000000, and not -5"]),
        (split("{ reviews = 1000001 }"), ["and not 1000001"]),
        (split("{ reviews = 0.5 }"), ["and not 0.5"]),
        (split("{ reviews = true }"), ["and not True"]),
        (split("{ reviews = '70' }"), ["and not '70'"]),
        (split("70"), ["routes[0].split (route 'reviews'): expected a table of names and values"]),
        (split("{ reveiws = 1 }"), ["route 'reviews': split names 'reveiws', which is not under [upstreams] (there: legacy, reviews)"]),
        (
            split("{ reviews = 1 }\nsticky = 'ip'"),
            ["routes[0].sticky (route 'reviews'): expected 'user', 'session', 'random', 'idempotency-key' or "],
        ),
        (split("{ reviews = 1 }\nsticky = 'header:a b'"), ["routes[0].sticky (route 'reviews'): expected 'user', 'session', 'random'"]),
        (split("{ reviews = 1 }\nsticky = 'header:Cookie'"), ["Cookie is a credential, or is not the client's to say"]),
        (split("{ reviews = 1 }\nsticky = 'header:X-Forwarded-For'"), ["X-Forwarded-For is a credential, or is not the client's to say"]),
        (split("{ reviews = 1 }\nsticky = 'header:X_Cart'"), ["X_Cart is a credential, or is not the client's to say"]),
        (split("{ reviews = 1 }\nsticky = 'header:Idempotency-Key'"), ["write 'idempotency-key': then nothing is sent twice"]),
        (split("{ reviews = 1 }\nrequire_key = true"), ['require_key means nothing without sticky = "idempotency-key"']),
        (split("{ reviews = 1 }\nfailover = 'always'"), ["routes[0].failover (route 'reviews'): expected 'safe' or 'never'"]),
        (GOOD + "failover = 'safe'", ["routes[0] (route 'reviews'): failover means nothing without split"]),
        (
            split("{ reviews = 1 }\nsticky = 'idempotency-key'") + "\n[ledger]\ndatabase = 'sqlite:///var/banyan.sqlite3'",
            ["ledger.database is shadow.database, and a payment would wait"],
        ),
        (GOOD + "[ledger]\ndatabase = 'mysql://u:hunter2@h/x'", ['ledger.database: write "sqlite:///path" or "postgres://']),
        (GOOD + "[ledger]\nanswer_bytes = '1B'", ["ledger.answer_bytes: expected 1024 or more"]),
        *(
            (split(f"{{ reviews = 1 }}\n{text}"), [f"routes[0] (route 'reviews'): {key}: means nothing with split"])
            for key, text in {
                "rewrite": "rewrite = '/r/*'",
                "host": "host = 'h'",
                "fallback": "fallback = true",
                "shadow": "[routes.shadow]\nsample = 1.0",
                "gate": "[routes.gate]\nminimum = 5",
            }.items()
        ),
        (split("{ reviews = 1 }").replace('"reviews"\nmatch', f'"{"x" * 100}"\nmatch'), [".split', which is to be its flag, cannot be"]),
        (
            GOOD + "[routes.gate]\nmatch = 1\ncoverage = 1.1\nwindow = '0s'\n",
            [
                "routes[0].gate.match (route 'reviews'): expected less than 1",
                "routes[0].gate.coverage (route 'reviews'): expected 1 or less",
                "routes[0].gate.window (route 'reviews'): in no time nothing can happen",
            ],
        ),
        (
            GOOD + "[routes.gate]\nwindow = '15d'\n",
            ["route 'reviews': gate.window is longer than shadow.retention: nothing is kept for so long"],
        ),
        ("[upstreams", ["is not TOML"]),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, text: str, expected: list[str]) -> None:
    found = problems(tmp_path, text)
    for wanted in expected:
        assert any(wanted in problem for problem in found), found
    assert all("\n" not in problem for problem in found)


def test_every_mistake_is_listed_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, GOOD + "x = 1\nmethods = ['get']\n[gateway]\nworkers = -1\n")) == 3


def test_no_file_and_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read \\(No such file or directory\\); name another with --config FILE"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load(tmp_path / "latin.toml")


def test_a_secret_is_read_from_the_environment_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNLEASH_TOKEN", "very-secret")
    path = tmp_path / "banyan.toml"
    path.write_text('[flags]\nsource = "unleash"\nurl = "http://127.0.0.1:4242/api"\ntoken = "${UNLEASH_TOKEN}"\n' + GOOD)
    config = load(path)
    assert config.flags.token.get_secret_value() == "very-secret"
    assert "very-secret" not in repr(config) + str(config)
    path.write_text(path.read_text().replace("refresh", "refresh") + "typo = 1\n")
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert "very-secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://u:hunter2@a:1", "ftp://hunter2", "http://a/hunter2"])
def test_what_came_from_the_environment_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REVIEWS_URL", url)
    (problem,) = problems(tmp_path, GOOD.replace("http://127.0.0.1:8101", "${REVIEWS_URL}"))
    assert "hunter2" not in problem
    assert "upstreams.reviews.url: " in problem


def test_nothing_behind_the_error_repeats_it_either(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text(GOOD.replace("http://127.0.0.1:8101", "http://u:hunter2@a:1"))
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    ("place", "secret"),
    [
        ("upstreams.reviews", "http://a:hunter2"),
        ("upstreams.reviews", "http://u:hunter2%40a:1"),
        ("shadow.database", "postgres://u:hunter2/x@h:1/name"),
        ("shadow.database", "sqlite://u:hunter2@h/x"),
    ],
)
@pytest.mark.parametrize("written", ["{}", "${{SECRET}}"])
def test_no_part_of_a_secret_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, secret: str, written: str) -> None:
    monkeypatch.setenv("SECRET", secret)
    table, key = place.split(".")
    line = f'{key} = "{written.format(secret)}"'
    text = GOOD.replace('reviews = "http://127.0.0.1:8101"', line) if table == "upstreams" else f"[{table}]\n{line}\n{GOOD}"
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(place)
    assert "hunter2" not in problem


def test_what_is_shown_in_lower_case_is_not_repeated_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "HUNTER2 x")
    (problem,) = problems(tmp_path, '[shadow]\nredact = ["${SECRET}"]\n' + GOOD)
    assert "hunter2" not in problem.lower()


def test_a_short_value_from_the_environment_leaves_the_sentence_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "a")
    assert problems(tmp_path, GOOD + 'host = "${A} b"') == [
        "routes[0].host (route 'reviews'): a host is a name or address with an optional port: '${A} b' is not"
    ]
    assert problems(tmp_path, GOOD + 'host = "${A}/"')[0].endswith("optional port: '${A}/' is not")


PEM = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMhunter2\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("secret", [PEM, PEM.replace("\n", ""), "MIGHAgEAhunter2\nMIGHAgEA", base64.b64encode(PEM.encode() * 4).decode()])
@pytest.mark.parametrize(
    ("where", "key"),
    [*product(("gateway.tls[0]", "upstreams.new.tls"), ("certificate", "key")), ("upstreams.new.tls", "ca")],
)
def test_a_key_in_place_of_its_files_name_is_refused_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, key: str, secret: str
) -> None:
    monkeypatch.setenv("TLS_SECRET", secret)
    tls = {"certificate": "a", "key": "b", key: "${TLS_SECRET}"}
    upstream = f"{GOOD}[upstreams.new]\nurl = 'https://a'\ntls = {toml(tls)}"
    text = f"[gateway]\ntls = {toml(tls)}\n{GOOD}" if where.startswith("gateway") else upstream
    assert problems(tmp_path, text) == [f"{where}.{key}: this is no file's name, but perhaps what is in one; write the name of a PEM file"]


WRONG: tuple[Any, ...] = (
    5,
    -1,
    1.5,
    math.nan,
    True,
    "",
    "x y",
    [],
    [5],
    ["x y"],
    [[]],
    {"a": 5},
    {},
    dt.date(2026, 1, 1),
    "9" * 5000,
)


def keys(section: type[BaseModel], where: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every key that the file may have."""
    for name, field in section.model_fields.items():
        place = (*where, name)
        yield place
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                first: dict[type[BaseModel], str | int] = {Upstream: "reviews", Route: 0}
                yield from keys(part, (*place, first[part]) if part in first else place)


def toml(value: Any) -> str:
    """`value` as TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize("place", list(keys(Config)), ids=lambda place: ".".join(map(str, place)))
def test_no_wrong_value_is_answered_in_pydantics_own_words(place: tuple[str | int, ...]) -> None:
    for value in WRONG:
        document: dict[str, Any] = {
            "upstreams": {"legacy": {"url": "http://127.0.0.1:1"}, "reviews": {"url": "http://127.0.0.1:2"}},
            "routes": [{"name": "reviews", "match": "/r", "candidate": "reviews"}],
        }
        node: Any = document
        for part in place[:-1]:
            node = node[part] if isinstance(node, list) else node.setdefault(part, {})
        node[place[-1]] = value
        try:
            parse(Path("banyan.toml"), "\n".join(f"{key} = {toml(item)}" for key, item in document.items()))
        except ConfigError as error:
            for problem in error.problems:
                assert "\n" not in problem
                for words in ("Input ", "should ", "valid ", "Field ", "Unable to", "lax-or-strict", "Traceback"):
                    assert words not in problem, problem


def test_every_key_without_a_default_has_an_example() -> None:
    sections = (Config, Upstream, Route, RateLimit, Jwt, JwtKey, Domains)
    assert set(MISSING) == {name for section in sections for name, field in section.model_fields.items() if field.is_required()}


@pytest.mark.parametrize("several", [False, True])
def test_tls_is_one_certificate_or_several(tmp_path: Path, several: bool) -> None:
    table = '{ certificate = "a.pem", key = "a.key" }'
    listen = 'listen = ["127.0.0.1:1", "http://127.0.0.1:2", "https://[::1]:3", "unix:/run/x"]'
    path = tmp_path / "banyan.toml"
    path.write_text(f"[gateway]\n{listen}\ntls = {f'[{table}, {table}]' if several else table}\n{GOOD}")
    config = load(path)
    assert [each.certificate for each in config.gateway.tls] == ["a.pem"] * (2 if several else 1)
    assert config.gateway.addresses == [("127.0.0.1:1", True), ("127.0.0.1:2", False), ("[::1]:3", True), ("unix:/run/x", False)]


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ("", False),
        ('listen = ["http://127.0.0.1:1"]\ntls = { certificate = "a.pem", key = "a.key" }', False),
        ('listen = ["unix:/run/x"]\ntls = { certificate = "a.pem", key = "a.key" }', False),
        ('tls = { certificate = "a.pem", key = "a.key" }', True),
    ],
)
def test_http2_and_http3_come_with_tls(tmp_path: Path, more: str, good: bool) -> None:
    path = tmp_path / "banyan.toml"
    for key, says in (("http2", "http2 is chosen in the TLS handshake"), ("http3", "http3 has TLS in it")):
        path.write_text(f"[gateway]\n{key} = true\n{more}\n{GOOD}")
        if good:
            assert getattr(load(path).gateway, key) is True
        else:
            with pytest.raises(ConfigError, match=says):
                load(path)


def test_an_https_upstream(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    path.write_text(
        '[upstreams]\nlegacy = "https://a.test"\n[upstreams.b]\nurl = "https://10.0.0.1:8443"\ntls = { server_name = "b.test" }\n'
    )
    upstreams = load(path).upstreams
    assert [(each.secure, each.address, each.server_name) for each in upstreams.values()] == [
        (True, ("a.test", 443), "a.test"),
        (True, ("10.0.0.1", 8443), "b.test"),
    ]


def test_two_names_of_one_file_collide_too(tmp_path: Path) -> None:
    (tmp_path / "flags.json").write_text("{}")
    (tmp_path / "other.json").symlink_to("flags.json")
    (found,) = problems(tmp_path, "[flags]\noverrides = 'other.json'\n" + GOOD)
    assert found.startswith("flags.path and flags.overrides name the same file, other.json")


@pytest.mark.parametrize("name", ["-", "", "/dev/null", "/dev/stdout"])
def test_what_is_no_file_may_be_named_twice(name: str) -> None:
    config = parse(Path("banyan.toml"), f"[gateway]\naccess_log = '{name}'\n[flags]\nimpressions = '{name}'\n" + GOOD)
    assert config.flags.impressions == name


SECURE_COOKIE = "[identity]\nvisitor = {key = 'kkkkkkkkkkkkkkkk', cookie = '__Host-v'}\n" + GOOD


def test_a_cookie_for_tls_alone_may_be_where_a_proxy_speaks_it() -> None:
    config = parse(Path("banyan.toml"), "[gateway]\ntrusted_proxies = ['127.0.0.1/32']\n" + SECURE_COOKIE)
    assert config.identity.visitor is not None


FIELDS = sorted(
    {name.decode() for name in REQUEST._kinds if name not in CREDENTIALS}
    | {"x-app-version", "x_app", "x-app_version", "banyan-shadow", "proxy-foo", "x-forwarded-prefix", "x-forwarded-", "accept-language"}
)


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize("name", FIELDS)
def test_flags_may_be_told_of_just_the_fields_that_the_edge_passes_on(name: str, trusted: bool) -> None:
    values = {
        "host": "b", "content-length": "3", "transfer-encoding": "chunked", "expect": "100-continue", "te": "trailers", "upgrade": "h2c",
        "via": "1.1 x", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }  # fmt: skip
    host = "" if name == "host" else "Host: b\r\n"
    head = parse_request(f"GET / HTTP/1.1\r\n{host}{name}: {values.get(name, 'close')}\r\n\r\n".encode(), trusted=trusted)
    there = f"\r\n{name}:".encode() in head.fields
    proxies = "trusted_proxies = ['127.0.0.1/32']" if trusted else ""
    text = f"[gateway]\n{proxies}\n[flags]\nheaders = ['{name.title()}']\n[shadow]\nredact = []\n{GOOD}"
    if there:
        assert parse(Path("banyan.toml"), text).flags.headers == [name]
    else:
        with pytest.raises(ConfigError, match=r"can never be read|believed from gateway\.trusted_proxies only"):
            parse(Path("banyan.toml"), text)


JETSTREAM = """
[shadow]
sink = "jetstream"
nats = "tls://a:4222"
[shadow.jetstream]
token = "hunter2"
"""


def test_what_reaches_nats_is_shown_without_its_secrets(tmp_path: Path) -> None:
    config = parse(tmp_path / "banyan.toml", GOOD + JETSTREAM)
    assert config.shadow.nats == ["tls://a:4222"]
    assert config.shadow.jetstream.token.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(config) + str(masked(config)) + repr(place_of(config))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("//a:", "//b:"),
        ("hunter2", "hunter3"),
        ("token =", 'stream = "OTHER"\ntoken ='),
        ('token = "hunter2"', 'nkey = "a.nk"'),
        ("[shadow]", "[shadow]\nprocesses = 3"),
    ],
)
def test_another_way_to_nats_or_of_comparing_replaces_the_shipper(tmp_path: Path, before: str, after: str) -> None:
    old = parse(tmp_path / "banyan.toml", GOOD + JETSTREAM)
    text = (GOOD + JETSTREAM).replace(before, after)
    assert for_the_shipper(old) == for_the_shipper(parse(tmp_path / "banyan.toml", GOOD + JETSTREAM))
    assert for_the_shipper(old) != for_the_shipper(parse(tmp_path / "banyan.toml", text))


def test_a_guard_counts_mismatches_where_shadow_workers_write(tmp_path: Path) -> None:
    path = tmp_path / "banyan.toml"
    there = JETSTREAM.replace("[shadow.j", 'database = "postgres://banyan@10.0.0.7/banyan"\n[shadow.j')
    assert parse(path, GOOD + "[routes.guard]\nmismatch = 0.01" + there).routes[0].guard is not None
    assert parse(path, GOOD + "[routes.guard]" + JETSTREAM).routes[0].guard is not None  # watches no mismatches
