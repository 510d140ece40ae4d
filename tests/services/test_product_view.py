"""The product view says what the shop's own view of that name says, in one read; and no more than is needed to who has it already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from demo.processes import Running
from demo.shop import Shop, start_product_view
from services.product_view.documents import PARTS
from services.product_view.service import matches

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
    import os
    import subprocess
    import threading

    from demo.processes import ROOT, python

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
