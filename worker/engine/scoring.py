"""
How far a result is from a reference that somebody wrote by hand: DER and WER.

Both are computed as the field does, without favours: no collar around turns, overlapping speech counted, and every word
of every segment counted. It runs in a child process, since pyannote.metrics is heavy to import.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.exceptions import EngineError
from worker.models import SpeakerTurn, TranscriptSegment
from worker.scores import Scores

_SPOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class ReferenceScorer:
    """Compares a finished meeting with its reference files; holds nothing."""

    def score(
        self,
        *,
        reference_rttm: Path | None,
        reference_stm: Path | None,
        turns: tuple[SpeakerTurn, ...],
        segments: tuple[TranscriptSegment, ...],
        duration_s: float,
    ) -> Scores:
        """
        Score the diarizer's turns against an .rttm and the words of all segments, in time order, against an .stm.

        DER: pyannote.metrics, collar 0, overlap counted, over [0, duration_s]; reference labels are mapped to ours one
        to one in the best way. WER: jiwer, after `normalised`; speakers are not compared.

        Raises EngineError: a reference cannot be read.
        """
        spoken = [word for segment in sorted(segments, key=lambda s: s.start_s) for word in normalised(segment.text)]
        scores = Scores(num_speakers=len({turn.label for turn in turns}), num_words=len(spoken))
        if reference_rttm:
            with _reading():
                real_turns = _read_rttm(reference_rttm)
            scores = scores.model_copy(update=_diarization_errors(real_turns, turns, duration_s))
        if reference_stm:
            with _reading():
                real_words = _read_stm(reference_stm)
            scores = scores.model_copy(update=_word_errors(real_words, spoken))
        return scores


def normalised(text: str) -> list[str]:
    """
    Words as WER compares them: lower case, punctuation stripped, apostrophes within a word kept ("I'm," is "i'm").

    Numbers stay as they are written; "20" and "twenty" count as different.
    """
    return _SPOKEN.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


@contextmanager
def _reading() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, IndexError) as error:
        raise EngineError("A reference cannot be read; the result is not scored.", reason=str(error)) from error


def _diarization_errors(
    reference: tuple[SpeakerTurn, ...], turns: tuple[SpeakerTurn, ...], duration_s: float
) -> dict[str, float | int | None]:
    with warnings.catch_warnings():
        # pyannote.metrics imports pyannote.core's plotting, which may warn about matplotlib; nothing is plotted here
        warnings.simplefilter("ignore", DeprecationWarning)
        from pyannote.core import Segment, Timeline
        from pyannote.metrics.diarization import DiarizationErrorRate

    metric: Any = DiarizationErrorRate(collar=0.0, skip_overlap=False)
    parts = metric(_annotation(reference), _annotation(turns), uem=Timeline([Segment(0, duration_s)]), detailed=True)
    total = parts["total"]
    shares = {name: _share(parts[key], total) for name, key in _PARTS.items()}
    return {
        **shares,
        "der": _share(sum(parts[key] for key in _PARTS.values()), total),
        "reference_speech_s": total,
        "num_reference_speakers": len({turn.label for turn in reference}),
    }


_PARTS = {"missed": "missed detection", "false_alarm": "false alarm", "confusion": "confusion"}


def _share(part: float, total: float) -> float | None:
    """None where the reference holds nothing to be right or wrong about."""
    return part / total if total else None


def _annotation(turns: tuple[SpeakerTurn, ...]) -> Any:
    from pyannote.core import Annotation, Segment

    annotation = Annotation()
    for track, turn in enumerate(turns):
        annotation[Segment(turn.start_s, turn.end_s), track] = turn.label
    return annotation


def _word_errors(reference: list[str], spoken: list[str]) -> dict[str, float | int | None]:
    import jiwer

    words: dict[str, float | int | None] = {"num_reference_words": len(reference)}
    if not reference:
        return words
    return {**words, "wer": float(jiwer.wer(" ".join(reference), " ".join(spoken)))}


def _read_rttm(path: Path) -> tuple[SpeakerTurn, ...]:
    """NIST's Rich Transcription Time Marked: SPEAKER file channel start duration <NA> <NA> label ..."""
    turns = []
    for fields in _lines(path):
        if fields[0] == "SPEAKER":
            start_s, length_s = float(fields[3]), float(fields[4])
            turns.append(SpeakerTurn(start_s=start_s, end_s=start_s + length_s, label=fields[7]))
    return tuple(turns)


def _read_stm(path: Path) -> list[str]:
    """NIST's segment time marks: file channel speaker start end [<label>] text, to words in time order."""
    utterances = [(float(fields[3]), fields[5:]) for fields in _lines(path)]
    ordered = [words for _, words in sorted(utterances, key=lambda utterance: utterance[0])]
    text = [
        word for words in ordered for word in words if not re.fullmatch(r"<.*>|ignore_time_segment_in_scoring", word)
    ]
    return normalised(" ".join(text))


def _lines(path: Path) -> Iterator[list[str]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith(";;"):
            yield line.split()
