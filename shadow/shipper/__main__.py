"""`python -m shadow.shipper`.

A file of this name, so that it stays out of the children that compare: multiprocessing imports in each what its parent began with, unless
that is a __main__ of a package. They would have Django and the configuration, of which they need nothing: 0.15 s of CPU and 10 MB each.
"""

from __future__ import annotations

from gateway.quick import importing, leave

if __name__ == "__main__":
    with importing():
        from shadow.shipper import main
    leave(main())
