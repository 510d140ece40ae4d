"""The `banyan` command."""
