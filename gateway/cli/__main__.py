"""Where `banyan`, and `python -m gateway.cli`, begin."""

import signal

from gateway.quick import importing, leave


def main() -> None:
    """Until everything is imported, which takes half a second, Ctrl-C simply ends the process: there is nothing yet to clean up."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with importing():
        from gateway.cli import verbs

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        verbs.main()
    except SystemExit as end:
        if isinstance(end.code, str):  # what Python would print
            raise
        status = end.code or 0
    leave(status)


if __name__ == "__main__":
    main()
