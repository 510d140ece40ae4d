"""Traces of sampled requests, by OTLP/HTTP.

A worker writes down what happened (gateway/net/traced.py) and hands it on; spans are made, and sent, by a process beside it: what the
OpenTelemetry SDK takes for one, some 50 µs, costs no request anything.
"""
