"""Why an order is not placed. Of each: nothing was taken."""

from __future__ import annotations

from legacy_django.items.models import Item, Option


class OutOfStockError(Exception):
    """Not enough of an option is left."""

    def __init__(self, option: Option) -> None:
        super().__init__(f"Not enough left of {option.item.name}, {option.name}.")


class UnknownOptionError(Exception):
    """There is no such option."""

    def __init__(self, option_id: int) -> None:
        super().__init__(f"There is no option {option_id}.")


class OnePerUserError(Exception):
    """The user has ordered it before, and it is one for each."""

    def __init__(self, item: Item | None = None) -> None:
        super().__init__(f"One for each: you have ordered {item.name if item is not None else 'it'} before.")
