"""The shop's manage.py: `python legacy_django/manage.py seed`, from any folder."""

import os
import sys
from pathlib import Path


def main() -> None:
    # The folder of this file comes first on sys.path, and would make every app importable under a second name.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "legacy_django.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import Error, OperationalError, connection

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        print(f"shop: {error}", file=sys.stderr)
        sys.exit(2)
    except Error as error:
        if connection.connection is not None and not isinstance(error, OperationalError):
            raise  # it was reached, and refused what a program asked: whoever mends that wants to see where
        reason = str(error).strip().partition("\n")[0]
        print(f"shop: the database cannot be used: {reason}. Check DATABASE_URL, and whether the server is up", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
