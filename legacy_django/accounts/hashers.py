"""The password hash: Django's PBKDF2 at Django's own cost, unless BANYAN_SHOP_PASSWORD_ITERATIONS says otherwise.

The demo and the tests sign 50 users in at once with a password that is printed in the documentation. A quarter of a second of CPU for each
would protect nothing there; in production nobody sets the variable, and a hash of another cost is renewed at the next sign-in.
"""

from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher


class Hasher(PBKDF2PasswordHasher):
    iterations = settings.PASSWORD_ITERATIONS or PBKDF2PasswordHasher.iterations
