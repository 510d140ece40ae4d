"""`banyan demo --events`: what is changed in the shop comes to the new services and back, and all of it ends."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from demo.processes import ROOT, python
from legacy_django.accounts.seeded import PASSWORD
from tests.support.demos import Demo, folders, left

pytestmark = pytest.mark.timeout(300)

PARTS = {"shop-relay", "reviews-relay", "shop-follow", "reviews-follow", "product_view-follow"}


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def new_review(gateway: httpx.Client, side: str) -> dict[str, Any]:
    """What he who is signed in wrote, of the first item that he had not reviewed, as `side` of the gateway took it."""
    for item in range(1, 201):
        words = {"item": item, "rating": 4, "title": "Seen", "body": "From the demo's test."}
        answer = gateway.post("/api/v1/reviews/", json=words, headers={"X-CSRFToken": gateway.cookies["csrftoken"]})
        assert f"served-by={side}" in answer.headers["Banyan-Route"]
        if answer.status_code == 201:
            return dict(answer.json())
        assert answer.status_code == 409, answer.text
    pytest.fail("he has reviewed all of them")


def sign_in(gateway: httpx.Client, user: str) -> None:
    """As a person does: flags go by user."""
    form = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', gateway.get("/login/").text)
    assert form is not None
    words = {"csrfmiddlewaretoken": form[1], "username": user, "password": PASSWORD}
    assert gateway.post("/login/", data=words).status_code == 302


def flag_on(said: str, flag: str) -> None:
    found = re.search(r"flags on product-view --config (\S+)", said)
    assert found is not None, said
    done = subprocess.run(
        python("-m", "gateway.cli", "flags", "on", flag, "--config", found[1]), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def follow_the_data(said: str) -> None:
    places = dict(re.findall(r"(?m)^(gateway|shop) +(http://127\.0\.0\.1:\d+) ", said))
    with httpx.Client(base_url=places["gateway"], timeout=10) as gateway:
        sign_in(gateway, "user07")

        def served(path: str) -> str:
            return gateway.get(path).headers["Banyan-Route"]

        assert "served-by=legacy" in served("/api/v1/product-view/17")
        flag_on(said, "product-view")
        until(lambda: "served-by=candidate" in served("/api/v1/product-view/17"))
        # A review of the shop's comes into the document that the new service has ready.
        views = {item: gateway.get(f"/api/v1/product-view/{item}").json()["reviews"]["count"] for item in range(1, 201)}
        item = new_review(gateway, "legacy")["item"]
        until(lambda: gateway.get(f"/api/v1/product-view/{item}").json()["reviews"]["count"] == views[item] + 1)
        assert "served-by=candidate" in served(f"/api/v1/product-view/{item}")
        # And what is written at the new service comes to the shop.
        flag_on(said, "reviews")
        until(lambda: "served-by=candidate" in served("/api/v1/reviews/17"))
        told = new_review(gateway, "candidate")
        until(lambda: httpx.get(f"{places['shop']}/api/v1/reviews/{told['id']}", timeout=10).status_code == 200)


def the_console_shows(said: str) -> None:
    """Its page has heard from each of the five."""
    found = re.search(r"(?m)^console +(http://\S+) +the differences: sign in as (\S+), password (\S+)$", said)
    assert found is not None, said
    with httpx.Client(base_url=found[1], timeout=10, follow_redirects=True) as person:
        form = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', person.get("/login/").text)
        assert form is not None
        person.post(
            "/login/", data={"username": found[2], "password": found[3], "csrfmiddlewaretoken": form[1]}, headers={"Referer": found[1]}
        )
        wanted = ("reviews, which follows shop", "product_view, which follows shop", "shop, which follows reviews", "reviews.sqlite3")

        def whole() -> bool:
            page = person.get("/events/").text
            return all(one in page for one in wanted) and "tells nothing" not in page

        until(whole)
        assert person.get("/events/").text.count("Nothing is parked.") == 3


def test_what_changes_comes_to_the_product_view_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    demo = Demo(tmp_path, "--events")
    try:
        said = demo.wait_for("Ctrl-C stops everything", demo.out, 150)
        metrics = dict(re.findall(r"(?m)^  (\S+) +(http://127\.0\.0\.1:\d+/metrics)$", said))
        assert set(metrics) == PARTS
        follow_the_data(said)
        for name, url in metrics.items():
            what = "banyan_outbox_backlog" if name.endswith("-relay") else "banyan_consumer_lag"
            assert what in httpx.get(url, timeout=10).text, name
        the_console_shows(said)
        told = demo.wait_for("events: ", demo.out, 30)
        assert re.search(
            r"(?m)^events: \d+ took effect, 0 parked; wait in outboxes: shop \d+, reviews \d+; lag of consumers: "
            r"shop \d+, reviews \d+, product_view \d+$",
            told,
        ), told
        checks = re.findall(r"(?m)^  (BANYAN_\w+)=(\S+) (\S+ -m services\.\w+ check --from .+)$", said)
        assert len(checks) == 2
        for variable, store, command in checks:
            done = subprocess.run(
                ["env", f"{variable}={store}", *shlex.split(command)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert "all equal" in done.stdout
        place = re.search(r"host=(\S*?banyan-pg-\w+)", said)
        assert place is not None
        kept = Path(unquote(place[1]))
        assert kept.is_dir()
        processes = demo.descendants()
        demo.process.send_signal(signal.SIGINT)
        assert demo.process.wait(40) == 0, demo.err.read_text()
        assert left(processes) == []
        assert folders(tmp_path) == []
        assert not kept.exists()
        assert "Traceback" not in demo.err.read_text()
    finally:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGINT)
            demo.process.wait(40)


def test_with_the_script_it_is_wrong_use() -> None:
    command = python("-m", "gateway.cli", "demo", "--script", "--events")
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("banyan: --events goes without --script")
