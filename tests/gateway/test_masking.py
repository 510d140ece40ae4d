"""What the admin port shows of the configuration holds no secret."""

from pathlib import Path

import orjson
import pytest

from gateway.config import parse
from gateway.masking import masked

TOML = """
[upstreams]
legacy = "http://127.0.0.1:8001"
[flags]
source = "unleash"
url = "http://127.0.0.1:4242/api"
token = "first-secret"
[shadow]
database = "{database}"
"""


@pytest.mark.parametrize(
    ("database", "shown"),
    [
        ("postgres://banyan:pass-secret@db:5432/banyan", "postgres://banyan:**********@db:5432/banyan"),
        ("postgres://banyan:p@ss-secret@db/banyan?sslmode=require", "postgres://banyan:**********@db/banyan?sslmode=require"),
        ("postgres://db/banyan?user=a&password=pass-secret&sslpassword=x-secret", "postgres://db/banyan?user=a&password=*&sslpassword=*"),
        ("sqlite:///var/banyan.sqlite3", "sqlite:///var/banyan.sqlite3"),
    ],
)
def test_secrets_are_masked(database: str, shown: str) -> None:
    view = masked(parse(Path("banyan.toml"), TOML.format(database=database)))
    assert view["shadow"]["database"] == shown
    assert (view["flags"]["token"], view["flags"]["admin_token"]) == ("**********", "")
    assert view["upstreams"]["legacy"]["url"] == "http://127.0.0.1:8001"
    assert view["gateway"]["limits"]["idle_timeout"] == 75.0
    assert b"-secret" not in orjson.dumps(view)
