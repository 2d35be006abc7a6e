"""
What things are. Frozen values, in the standard terms of the field; nothing here does anything.

Glossary
    meeting      one recording that somebody wants transcribed; a row of the `meetings` table
    job          the machinery behind a meeting: lease, fencing token, attempts; never shown to people
    claim        a worker's temporary right to work on a meeting, good until its lease ends
    fencing token  a number that grows with every claim; a write counts only with the latest one
    stage        one step of the work, in the order of `Stage`
    word         a written word with start, end and confidence
    turn         a stretch of time in which one voice speaks, as the diarizer hears it
    segment      consecutive words of one speaker, as people read them
    label        a voice within one meeting: SPEAKER_00, SPEAKER_01 ...
    speaker      a person (or a voice nobody has named yet) across meetings
    embedding    a vector that describes a voice; only comparable within the same model
    voiceprint   the embeddings kept of one speaker
    ledger       every decision about who a voice is, by a worker or by people; each can be undone
    DER, WER     diarization error rate, word error rate; RTF: seconds of work per second of audio

Times within a recording are seconds from its first sample (`_s`). Moments are aware UTC (`_at`).
"""

from __future__ import annotations

from worker.models.gpu import GpuState, StageCost, StageUsage
from worker.models.people import Decision, KnownSpeaker, KnownSpeakers, Person, VoiceMatch
from worker.models.queue import (
    Beat,
    BeatAnswer,
    Claim,
    ClaimAnswer,
    Failure,
    FleetStatus,
    GpuFacts,
    HeartbeatAnswer,
    Meeting,
    MeetingDetail,
    MeetingStatus,
    NewMeeting,
    Registration,
    SystemInfo,
    Trouble,
    WorkerInfo,
    WorkerState,
    WorkInProgress,
    WriteAnswer,
)
from worker.models.recording import (
    Alignment,
    AudioMetadata,
    Diarization,
    EnginePlan,
    LanguageVote,
    LanguageWindow,
    Passage,
    ResultWarning,
    SpeakerEmbedding,
    SpeakerTurn,
    Stage,
    Transcript,
    Value,
    Word,
)
from worker.models.result import (
    DoubtfulSpan,
    MeetingSpeaker,
    MeetingSummary,
    ProcessingResult,
    Quality,
    SegmentQuality,
    SpeakerCount,
    SpeakingShare,
    SummaryItem,
    TranscriptSegment,
)

__all__ = [
    "Alignment",
    "AudioMetadata",
    "Beat",
    "BeatAnswer",
    "Claim",
    "ClaimAnswer",
    "Decision",
    "Diarization",
    "DoubtfulSpan",
    "EnginePlan",
    "Failure",
    "FleetStatus",
    "GpuFacts",
    "GpuState",
    "HeartbeatAnswer",
    "KnownSpeaker",
    "KnownSpeakers",
    "LanguageVote",
    "LanguageWindow",
    "Meeting",
    "MeetingDetail",
    "MeetingSpeaker",
    "MeetingStatus",
    "MeetingSummary",
    "NewMeeting",
    "Passage",
    "Person",
    "ProcessingResult",
    "Quality",
    "Registration",
    "ResultWarning",
    "SegmentQuality",
    "SpeakerCount",
    "SpeakerEmbedding",
    "SpeakerTurn",
    "SpeakingShare",
    "Stage",
    "StageCost",
    "StageUsage",
    "SummaryItem",
    "SystemInfo",
    "Transcript",
    "TranscriptSegment",
    "Trouble",
    "Value",
    "VoiceMatch",
    "Word",
    "WorkInProgress",
    "WorkerInfo",
    "WorkerState",
    "WriteAnswer",
]
