"""The product view says what the shop's own view of that name says, in one read; and no more than is needed to who has it already."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.processes import ROOT, Running, python
from demo.shop import Shop, start_product_view
from gateway.identity.caller import ANONYMOUS
from gateway.identity.stamp import Stamps
from gateway.identity.stamp_keys import read_key
from services.product_view.documents import PARTS
from services.product_view.service import matches
from tests.support.stamp_keys import SECRET

VIEW = "/api/v1/product-view/"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Iterator[Running]:
    running = start_product_view(tmp_path_factory.mktemp("view"), shop)
    yield running
    running.stop()


def test_every_document_is_what_the_shop_gathers(view: Running, shop: Shop) -> None:
    with httpx.Client() as client:
        for item in range(1, 201):
            ready, live = (client.get(f"{base}{VIEW}{item}") for base in (view.url, shop.url))
            assert ready.status_code == live.status_code == 200
            assert ready.headers["content-type"] == live.headers["content-type"]
            assert ready.headers["cache-control"] == live.headers["cache-control"]
            assert tuple(ready.json().pop("as_of")) == tuple(live.json().pop("as_of")) == PARTS
            assert {**ready.json(), "as_of": 0} == {**live.json(), "as_of": 0}


@pytest.mark.parametrize("item", ["201", "0", "x", "99999999999"])
def test_what_is_not_there_is_not_found_by_both(view: Running, shop: Shop, item: str) -> None:
    ready, live = (httpx.get(f"{base}{VIEW}{item}") for base in (view.url, shop.url))
    assert (ready.status_code, ready.json()) == (live.status_code, live.json())
    assert ready.status_code == 404


def test_who_has_it_already_is_told_so(view: Running) -> None:
    first = httpx.get(f"{view.url}{VIEW}7")
    tag = first.headers["etag"]
    again = httpx.get(f"{view.url}{VIEW}7", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert httpx.get(f"{view.url}{VIEW}7", headers={"If-None-Match": '"other"'}).content == first.content
    assert httpx.get(f"{view.url}{VIEW}8", headers={"If-None-Match": tag}).status_code == 200


def test_tags_are_compared_weakly() -> None:
    assert matches(["*"], '"a"')
    assert matches(['"b"', 'W/"a"'], '"a"')
    assert not matches([], '"a"')
    assert not matches(['"ab"'], '"a"')


def test_a_rebuild_beside_readers_is_never_half(view: Running, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> None:
    database = Path(view.log).parent / "product_view.sqlite3"
    over = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        with httpx.Client() as client:
            number = 0
            while not over.is_set():
                number += 1
                seen.add(client.get(f"{view.url}{VIEW}{1 + number % 200}").status_code)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(3):
            command = python("-m", "services.product_view", "import", "--from", shop.database)
            environment = {**os.environ, "BANYAN_PRODUCT_VIEW_DB": str(database)}
            subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=60)
    finally:
        over.set()
        reader.join()
    assert seen == {200}


def test_behind_a_gateway_what_is_not_stamped_for_it_is_refused(shop: Shop, tmp_path: Path) -> None:
    running = start_product_view(tmp_path, shop, stamp_key=SECRET)
    try:

        def status(audience: str) -> int:
            key = read_key(SECRET)
            line = Stamps(key.sign, key.kid, "banyan", 60).field(ANONYMOUS, audience, time.time())
            headers = {"Banyan-Identity": line.partition(b": ")[2].decode()}
            return httpx.get(f"{running.url}{VIEW}7", headers=headers).status_code

        assert httpx.get(f"{running.url}{VIEW}7").status_code == 401
        assert status("legacy") == 401
        assert status("product_view") == 200
    finally:
        running.stop()
