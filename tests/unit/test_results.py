"""What is written about a meeting: who did it, with what, at which cost."""

from __future__ import annotations

from worker.models import (
    Alignment,
    AudioMetadata,
    Diarization,
    EnginePlan,
    ProcessingResult,
    ResultWarning,
    Stage,
    StageCost,
    Transcript,
    Word,
)
from worker.results import result_of

AUDIO = AudioMetadata(
    sha256="0" * 64, size_bytes=1, container="wav", codec="pcm", rate_hz=16_000, num_channels=1, duration_s=60.0
)
PLAN = EnginePlan(model="small", device="cpu", compute_type="int8", batch_size=4, reasons=("There is no GPU.",))
HEARD = Transcript(
    words=(Word(text="hi", start_s=0, end_s=1),),
    language="en",
    engine="whisperx",
    model="small",
    revision="abc",
    compute_type="int8",
    batch_size=4,
    plan=PLAN,
    alignment=Alignment(model="wav2vec2", language="en"),
)
VOICES = Diarization(
    turns=(), exclusive=(), embeddings=(), diarizer="bundled", model="ge2e", revision="def", batch_size=32
)


def written(transcript: Transcript = HEARD, voices: Diarization | None = VOICES) -> ProcessingResult:
    costs = {
        Stage.DECODE: StageCost(seconds=0.6, peak_rss_bytes=1000),
        Stage.TRANSCRIBE: StageCost(seconds=30.0, peak_rss_bytes=2000, peak_vram_bytes=3000),
        Stage.TURNS: StageCost(seconds=0.1),
    }
    return result_of(
        audio=AUDIO,
        transcript=transcript,
        voices=voices,
        segments=(),
        speakers=(),
        speakers_version=None,
        summary=None,
        costs=costs,
        reused=[Stage.DECODE],
        warnings=(),
    )


def test_each_stage_has_its_seconds_its_real_time_factor_and_its_peak_memory() -> None:
    """Also one whose value an earlier attempt left: with what it cost then."""
    result = written().result
    assert result["stage_seconds"] == {"decode": 0.6, "transcribe": 30.0, "turns": 0.1}
    assert result["stage_rtf"] == {"decode": 0.01, "transcribe": 0.5, "turns": 0.00167}
    assert result["reused_stages"] == ["decode"]
    assert result["peak_memory"] == {
        "decode": {"rss_bytes": 1000, "vram_bytes": None},
        "transcribe": {"rss_bytes": 2000, "vram_bytes": 3000},
    }


def test_engines_are_named_with_model_version_number_format_and_batch_sizes() -> None:
    result = written().result
    assert {name: result["asr"][name] for name in ("engine", "model", "revision", "device", "compute_type")} == {
        "engine": "whisperx",
        "model": "small",
        "revision": "abc",
        "device": "cpu",
        "compute_type": "int8",
    }
    assert result["asr"]["batch_size"] == 4
    assert result["asr"]["plan"]["reasons"] == ["There is no GPU."]
    assert result["alignment"]["model"] == "wav2vec2"
    assert (result["diarization"]["revision"], result["diarization"]["batch_size"]) == ("def", 32)


def test_what_was_said_stands_in_the_segments_and_not_among_the_engines() -> None:
    assert {"words", "passages", "language_vote"} & written().result["asr"].keys() == set()


def test_without_voices_the_result_says_that_there_was_no_diarization() -> None:
    assert written(voices=None).result["diarization"] is None


def test_warnings_of_the_stages_come_in_their_order_and_silence_is_said_last() -> None:
    rough = ResultWarning(code="rough", message="Rough.")
    close = ResultWarning(code="close", message="Two voices are alike.")
    silent = HEARD.model_copy(update={"words": (), "warnings": (rough,)})
    result = written(silent, VOICES.model_copy(update={"warnings": (close,)}))
    assert [warning.code for warning in result.warnings] == ["rough", "close", "no_speech"]
