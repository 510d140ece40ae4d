"""`python -m gateway.cli`: the same as `banyan`."""

from gateway.cli import main

main()
