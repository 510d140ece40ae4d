"""Only our own name is ours."""

import pytest

from gateway.policy.via import names_us


@pytest.mark.parametrize(
    "via",
    [
        b"1.1 banyan",
        b"1.1 BANYAN",
        b"HTTP/1.1 banyan",
        b"1.0 a, 1.1 banyan, 1.1 b",
        b"1.0 a ,1.1\t banyan\t",
        b"1.0 a,2 banyan (of the shop)",
        b"1.1 a (x, 1.1 banyan",
        b", ,1.1 banyan,",
    ],
)
def test_ours(via: bytes) -> None:
    assert names_us(via)


@pytest.mark.parametrize(
    "via",
    [
        b"",
        b"1.1 my-banyan-tree.example",
        b"1.1 banyan.example",
        b"1.1 banyan:8080",
        b"1.1 banyans, 1.1 a.banyan",
        b"1.1 a (banyan)",
        b"1.1 a (not banyan at all)",
        b"banyan",
        b"banyan banyan-tree",
        b"1.1 \xe9banyan",
    ],
)
def test_others(via: bytes) -> None:
    assert not names_us(via)
