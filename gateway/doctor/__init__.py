"""`banyan doctor`: what is wrong with a set-up, and what to do. It looks, and changes nothing: no table, no file, no flag.

findings.py     what a look finds          looking.py   all looks side by side, each bounded in time, no secret shown
configuration.py  ports.py  holders.py  modes.py  flagsource.py  upstreams.py  stores.py  tables.py  broker.py  clock.py  machine.py
running.py  build.py                       one subject each
"""
