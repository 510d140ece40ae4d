"""Data that moves with what happens: out of a store's outbox, through JetStream, into other stores. Each event takes effect once.

A store is a database that somebody writes: the shop's, or a service's. No Django here and nothing of the gateway's: the user's own project
can be on either side.
"""
