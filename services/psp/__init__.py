"""A stand-in payment provider, to be run twice. It charges, it keeps a ledger of its own, and it can be told how to fail.

A payment's name is its Idempotency-Key, or where there is none, what it was for. By that name faults choose, so that the same payment meets
the same fault on every run.
"""
