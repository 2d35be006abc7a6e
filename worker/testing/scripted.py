"""
Engines that do what a test tells them, in a real child process or without one.

Each takes a `Script` as keyword arguments. A recording may bring its own instead: a text file that is a JSON object of
scripts by stage name, {"transcribe": {"words": [...]}, "diarize": {"hang": true}}; ScriptedDecoder copies it through,
so that it reaches the engines as their audio. What a recording does not say, the keyword arguments say.
"""
# ruff: noqa: ARG002 - the script decides what comes out, not the arguments

from __future__ import annotations

import builtins
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worker.exceptions import PCWorkerException, from_code
from worker.models import (
    AudioMetadata,
    Diarization,
    MeetingSummary,
    SpeakerEmbedding,
    SpeakerTurn,
    SummaryItem,
    Transcript,
    TranscriptSegment,
    Value,
    Word,
)
from worker.ports import Report, channel_paths

POLL_S = 0.005

logger = logging.getLogger(__name__)

DEFAULT_WORDS = tuple(
    Word(text=text, start_s=index * 0.5, end_s=index * 0.5 + 0.4, confidence=0.9)
    for index, text in enumerate(("the", "meeting", "begins", "now", "thank", "you", "very", "much"))
)
DEFAULT_TURNS = (
    SpeakerTurn(start_s=0.0, end_s=1.95, label="SPEAKER_00"),
    SpeakerTurn(start_s=1.95, end_s=4.0, label="SPEAKER_01"),
)


class Script(Value):
    """What one stage does, in the order of the fields; the first that ends it, ends it."""

    touch: Path | None = None  # created when the stage begins, for tests to wait on
    hotwords_to: Path | None = None  # the hotwords that `transcribe` was given are written here
    only_first: int | None = None  # the misbehaviour below happens in the first n calls, counted in `count_file`
    count_file: Path | None = None
    print_bytes: int = 0  # half to stdout, half to stderr
    allocate_bytes: int = 0  # kept, as a leak would
    grandchild: Path | None = None  # start another process, as a library might, and write its pid here
    escapes: bool = False  # ... in a session of its own, holding on to every file descriptor
    # --- here the first progress is reported ---
    garbage: str | None = None  # written to the protocol's channel, as a stray file descriptor would
    kill_signal: int | None = None  # this process ends itself
    exit_status: int | None = None  # likewise, with os._exit
    hang: bool = False  # silently, for ever
    spin: bool = False  # likewise, in a loop that lets nobody else have the interpreter
    raise_code: str | None = None  # an error of our tree
    raise_message: str | None = None
    raise_foreign: str | None = None  # a builtin exception: "MemoryError", "ZeroDivisionError"
    seconds: float = 0.0  # of work, reporting progress
    until: Path | None = None  # work on, reporting progress, until this file exists
    words: tuple[Word, ...] = DEFAULT_WORDS
    turns: tuple[SpeakerTurn, ...] = DEFAULT_TURNS
    voices: tuple[SpeakerEmbedding, ...] | None = None  # what `diarize` describes; None: a unit vector per label
    names_to: Path | None = None  # the names that `summarize` was given are written here
    guidance_to: Path | None = None  # likewise the guidance
    language: str = "en"
    channels_apart: bool = False  # `decode` gives a file per channel, whose "<stage>-1" and "<stage>-2" are its scripts
    channel_speech_s: tuple[float, float] = (2.0, 2.0)


class Scripted:
    """Reads the script of a stage and acts it."""

    def __init__(self, **script: Any) -> None:
        self._script = script
        self._leaked = bytearray()
        self._num_calls = 0

    def identity(self) -> dict[str, int]:
        """Which object this is, in which process; equal between two calls when both met the same one."""
        self._num_calls += 1
        return {"pid": os.getpid(), "object": id(self), "num_calls": self._num_calls}

    def _act(self, stage: str, report: Report, recording: Path | None = None) -> Script:
        script = Script.model_validate({**self._script, **scripts_in(recording).get(stage, {})})
        logger.debug("script_acted", extra={"acted": stage})
        if script.touch:
            script.touch.touch()
        misbehaves = script.only_first is None or count(script) <= script.only_first
        if misbehaves:
            self._burden(script)
        report(0.0)
        if misbehaves:
            end_badly(script)
        work(script, report)
        return script

    def _burden(self, script: Script) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.write("x" * 79 + "\n" if script.print_bytes else "")
            for _ in range(script.print_bytes // 160):
                stream.write("y" * 79 + "\n")
        self._leaked += b"\1" * script.allocate_bytes
        if script.grandchild:
            script.grandchild.write_text(str(run_away() if script.escapes else subprocess.Popen(["sleep", "600"]).pid))


def end_badly(script: Script) -> None:
    if script.garbage is not None:
        os.write(int(sys.argv[2]), script.garbage.encode("latin-1"))
    die(script)
    while script.hang:
        time.sleep(60.0)
    while script.spin:
        pass
    complain(script)


def run_away() -> int:
    """Fork without exec. Returns the pid."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        time.sleep(600.0)
        os._exit(0)
    return pid


def die(script: Script) -> None:
    if script.kill_signal is not None:
        os.kill(os.getpid(), signal.Signals(script.kill_signal))
        time.sleep(60.0)  # a signal needs a moment
    if script.exit_status is not None:
        os._exit(script.exit_status)


def complain(script: Script) -> None:
    if script.raise_code is not None:
        raise from_code(script.raise_code, script.raise_message)
    if script.raise_foreign is not None:
        raise getattr(builtins, script.raise_foreign)("scripted")


def work(script: Script, report: Report) -> None:
    began = time.monotonic()
    while (spent_s := time.monotonic() - began) < script.seconds:
        report(spent_s / script.seconds)
        time.sleep(min(POLL_S, script.seconds))
    while script.until and not script.until.exists():
        report(0.5)
        time.sleep(POLL_S)
    report(1.0)


def count(script: Script) -> int:
    """How often this script was acted, this time included, over all processes: one byte per call."""
    if script.count_file is None:
        raise PCWorkerException("a script with only_first needs a count_file")
    with script.count_file.open("ab") as file:
        file.write(b".")
        return file.tell()


def scripts_in(recording: Path | None) -> dict[str, Any]:
    """The scripts that the recording itself is, if it is one."""
    if recording is None:
        return {}
    with recording.open("rb") as file:
        if file.read(1) != b"{":
            return {}
    scripts: dict[str, Any] = json.loads(recording.read_text())
    return scripts


class ScriptedDecoder(Scripted):
    """Copies the recording as it is. `duration_s` is that of the default words."""

    def decode(self, source: Path, target: Path, report: Report, *, channels: str | None = None) -> AudioMetadata:
        script = self._act("decode", report, source)
        shutil.copyfile(source, target)
        if script.channels_apart:
            for number, path in enumerate(channel_paths(target), 1):
                path.write_text(json.dumps(scripts_of_channel(source, number)))
        size_bytes = source.stat().st_size
        return AudioMetadata(
            sha256="0" * 64,
            size_bytes=size_bytes,
            container="script",
            codec="json",
            rate_hz=16_000,
            num_channels=2 if script.channels_apart else 1,
            duration_s=4.0,
            channels_apart=script.channels_apart,
            channel_speech_s=script.channel_speech_s if script.channels_apart else (),
        )


def scripts_of_channel(recording: Path, number: int) -> dict[str, Any]:
    scripts, ending = scripts_in(recording), f"-{number}"
    return scripts | {name.removesuffix(ending): scripts[name] for name in scripts if name.endswith(ending)}


class ScriptedTranscriber(Scripted):
    def transcribe(
        self, audio: Path, *, language: str | None, prompt: str | None, hotwords: str | None, report: Report
    ) -> Transcript:
        script = self._act("transcribe", report, audio)
        if script.hotwords_to:
            script.hotwords_to.write_text(hotwords or "")
        return Transcript(words=script.words, language=language or script.language, engine="scripted", model="none")

    def align(self, audio: Path, transcript: Transcript, report: Report) -> Transcript:
        self._act("align", report, audio)
        return transcript

    def rest(self) -> None:
        """It holds nothing."""


class ScriptedDiarizer(Scripted):
    """Each label gets a unit vector of its own, so that no two voices are alike."""

    def diarize(
        self, audio: Path, *, min_speakers: int | None, max_speakers: int | None, report: Report
    ) -> Diarization:
        script = self._act("diarize", report, audio)
        turns, embeddings = script.turns, script.voices
        if embeddings is None:
            labels = sorted({turn.label for turn in turns})
            embeddings = tuple(voice(label, labels, turns) for label in labels)
        return Diarization(turns=turns, exclusive=turns, embeddings=embeddings, diarizer="scripted", model="none")

    def describe(self, audio: Path, turns: tuple[SpeakerTurn, ...], report: Report) -> tuple[SpeakerEmbedding, ...]:
        """Follows the script of `describe`, so that it is the describer as well."""
        script = self._act("describe", report, audio)
        labels = sorted({turn.label for turn in turns})
        return script.voices if script.voices is not None else tuple(voice(label, labels, turns) for label in labels)


def voice(label: str, labels: list[str], turns: tuple[SpeakerTurn, ...]) -> SpeakerEmbedding:
    vector = tuple(float(other == label) for other in labels)
    speech_s = sum(turn.end_s - turn.start_s for turn in turns if turn.label == label)
    return SpeakerEmbedding(label=label, model="scripted", dim=len(vector), vector=vector, speech_s=speech_s)


class ScriptedSummarizer(Scripted):
    def summarize(
        self,
        segments: tuple[TranscriptSegment, ...],
        *,
        language: str | None,
        report: Report,
        names: Mapping[str, str] | None = None,
        guidance: str | None = None,
    ) -> MeetingSummary:
        script = self._act("summarize", report)
        if script.names_to:
            script.names_to.write_text(json.dumps(dict(names or {})))
        if script.guidance_to:
            script.guidance_to.write_text(guidance or "")
        points = tuple(SummaryItem(text=segment.text, segments=(segment.index,)) for segment in segments[:3])
        return MeetingSummary(overview=f"{len(segments)} segments", key_points=points, method="extractive")
