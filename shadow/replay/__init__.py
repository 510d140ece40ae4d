"""Recorded requests, asked again of two sides and compared as the shadow compares: `banyan replay`.

It needs neither a gateway nor a database. Requests go to the upstreams of banyan.toml and to nobody else, whatever host a recording names;
what they ask is read by the edge's own grammar, belongs to a route by its own table, and leaves with the fields that it would add.
"""
