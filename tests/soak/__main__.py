"""
Run the soak: `python -m tests.soak [--minutes 10] [--seed 1] [--workers 4] [--meetings 1200] [--fault-every 5]`.

Prints what came of it as a table, and with --json writes it to a file. Exit status 1: something was lost, done twice,
half done or leaked. The plan of faults and meetings comes from the seed; how far a worker has come when a fault hits it
is up to the machine, so the figures differ from run to run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.soak.night import Night, Numbers
from tests.soak.table import as_json, faults_in, markdown
from tests.support.embedded_postgres import reachable_directory


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Torment a fleet, then count.")
    default = Numbers()
    parser.add_argument("--minutes", type=float, default=default.minutes)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--workers", type=int, default=default.num_pcs)
    parser.add_argument("--meetings", type=int, default=default.num_meetings)
    parser.add_argument("--fault-every", type=float, default=default.fault_every_s, metavar="SECONDS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    told = parser.parse_args(arguments)
    numbers = Numbers(told.minutes, told.seed, told.workers, told.meetings, told.fault_every)
    with reachable_directory() as folder:
        report = Night(numbers, folder, say=lambda line: print(line, file=sys.stderr, flush=True)).run()
    print(markdown(report))
    if told.json:
        told.json.write_text(json.dumps(as_json(report), indent=2) + "\n", encoding="utf-8")
    for fault in (faults := faults_in(report)):
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
