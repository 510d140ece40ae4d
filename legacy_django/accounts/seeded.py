"""The accounts of a seeded shop. Without Django, so that the demo and the tests can sign in with them."""

USERS = tuple(f"user{number:02}" for number in range(1, 51))
"""By id, from 1. The first one is staff."""
PASSWORD = "banyan-demo"  # noqa: S105 - everybody's, and printed in the documentation


def token(user: str) -> str:
    """By which a program is signed in as one of USERS (`Authorization: Token …`): everybody's too, and good for ever."""
    return f"banyan-demo-token-of-{user}"
