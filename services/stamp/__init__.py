"""Who is calling, by the stamp that Banyan puts on every request: for services behind it, and of use to any of them.

    from services.stamp import Verifier
    verifier = Verifier.from_environment("reviews")     # the name that the service has under [upstreams]

FastAPI: services.stamp.dependency; Django: services.stamp.middleware. Beside these it needs only the standard library and joserfc, so the
folder may be copied into another project.
"""

from services.stamp.keys import FixedKeys, Jwks, from_environment, parse
from services.stamp.verifier import Verifier
from services.stamp.verify import FIELD, Key, Keys, Stamped, StampError, verify

__all__ = ["FIELD", "FixedKeys", "Jwks", "Key", "Keys", "StampError", "Stamped", "Verifier", "from_environment", "parse", "verify"]
