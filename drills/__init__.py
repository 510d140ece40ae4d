"""Incidents, run again on this machine: without the gateway and with it, at real load, against real processes.

A drill puts a `Stage` up, sends an open loop of requests (`load`), and makes a `Report` of what was seen: figures of both runs beside each
other, the bars that the second one is held to, and charts. `telling` prints it and draws the picture. `gateway/cli/drill` has the verbs.
"""
