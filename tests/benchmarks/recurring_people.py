"""
Six meetings of four people who come and go, with real voices: are they recognised?

    python -m tests.benchmarks.recurring_people FOLDER [--seconds 20]

FOLDER holds a folder of recordings per person, an utterance each (any format that soundfile reads, 16 kHz mono); the
first four people by name take part. Each is named once, after the first meeting he or she is in. Real workers, the
bundled diarizer, an embedded Postgres; what is written down does not matter here.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

from tests.support.embedded_postgres import temporary_postgres
from tests.support.recurring_people import ATTENDANCE, HeldMeeting, Sound, hold, planned_meetings
from tests.support.spoken_meetings import RATE_HZ
from worker.adapters.migrate_postgres import migrate

_NUM_PEOPLE = 4
_SUFFIXES = (".flac", ".wav", ".ogg", ".opus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of speech of each person in each meeting")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    folders = sorted(path for path in arguments.folder.iterdir() if path.is_dir())[:_NUM_PEOPLE]
    assert len(folders) == _NUM_PEOPLE, f"{_NUM_PEOPLE} folders of recordings are needed"
    meetings = planned_meetings({path.name: _utterances(path) for path in folders}, seconds_each=arguments.seconds)
    with temporary_postgres() as dsn, tempfile.TemporaryDirectory() as temp:
        migrate(dsn)
        held = asyncio.run(hold(dsn, Path(temp), meetings))
    Console().print(_table(held))


def _utterances(folder: Path) -> list[Sound]:
    paths = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    return [_sound(path) for path in paths]


def _sound(path: Path) -> Sound:
    samples, rate_hz = soundfile.read(path, dtype="float32")
    assert rate_hz == RATE_HZ
    assert samples.ndim == 1
    return np.asarray(samples, np.float32)


def _table(held: list[HeldMeeting]) -> Table:
    shown = Table("meeting", "people", "voices", "recognised", "heard %", "right %", "wrong %", "scores", box=None)
    for meeting, present in zip(held, ATTENDANCE, strict=True):
        num_known = len(meeting.recognised) + len(meeting.missed)
        shown.add_row(
            str(meeting.number),
            str(len(present)),
            str(meeting.num_voices),
            f"{len(meeting.recognised)} of {num_known}",
            f"{100 * meeting.heard_share:.1f}",
            f"{100 * meeting.right_share:.1f}",
            f"{100 * meeting.wrong_share:.1f}",
            " ".join(f"{score:.2f}" for score in meeting.scores),
        )
    return shown


if __name__ == "__main__":
    main()
