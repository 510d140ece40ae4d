"""A worker that is looked into: `python -m inspecting`."""

from __future__ import annotations

import argparse
import asyncio
from functools import partial

from gateway import engine
from inspecting.engine import InspectEngine
from inspecting.told import read

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--told", type=int, required=True)
    mine, others = parser.parse_known_args()
    engine.main(partial(InspectEngine, told=read(mine.told)), asyncio.run, others)
