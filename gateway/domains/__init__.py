"""Calls between domains: who is stamped for which, and what was seen. Which call is right: gateway/policy/domains.py."""
