"""Placing an order: stock is taken of each option and of its item, and the order written, all of it or nothing.

There are two ways, and settings.ORDERS_CARELESS says which: `careful`, and `careless`, which is as it was on the day of the time deal
(docs/incidents/time-deal.md). Both take stock by conditional UPDATEs, so neither sells what is not there.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.contrib.auth.models import User

from legacy_django.orders import careful, careless
from legacy_django.orders.models import Order
from legacy_django.orders.refusals import OnePerUserError, OutOfStockError, UnknownOptionError
from legacy_django.orders.retrying import BusyError

__all__ = ["BusyError", "OnePerUserError", "OutOfStockError", "UnknownOptionError", "place"]


def place(user: User, wanted: Mapping[int, int]) -> Order:
    """Writes an order for {option id: quantity}, in the order in which the cart names them.

    Raises:
        OutOfStockError, UnknownOptionError, OnePerUserError, BusyError: nothing happened.
    """
    way = careless.place if settings.ORDERS_CARELESS else careful.place
    return way(user, wanted)
