"""Which language is spoken: Whisper's opinion of several stretches of speech, not of the first half minute alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worker.engine.heard_speech import HeardSpeech
from worker.engine.recording import RATE_HZ
from worker.exceptions import UnsupportedLanguageError
from worker.models import LanguageVote, LanguageWindow, ResultWarning, Stage

LONGEST_WINDOW_S = 30.0
"""What Whisper hears at once."""

_SHORTEST_WINDOW_S = 10.0
"""In a short recording windows rather overlap than become shorter: a few words are no evidence."""

_FEW_WINDOWS, _MANY_WINDOWS = 3, 5
_MANY_FROM_S = 600.0

_SURE = 0.5
"""Below this a vote is doubtful. Source: `language_detection_threshold`, faster-whisper's default."""

_NUM_KEPT = 5
"""Of about a hundred languages, those whose probabilities are worth keeping."""

Probabilities = Mapping[str, float]


def windows_of(heard: HeardSpeech, audio_s: float) -> list[tuple[float, float]]:
    """
    Where to listen, start and end in seconds: three to five windows of up to 30 s, spread evenly over the speech.

    Silence gives none; a recording of less than ten seconds is one window.
    """
    if not heard.total_s:
        return []
    num = _FEW_WINDOWS if audio_s < _MANY_FROM_S else _MANY_WINDOWS
    length_s = min(audio_s, max(_SHORTEST_WINDOW_S, min(LONGEST_WINDOW_S, audio_s / num)))
    middles_s = [heard.time_of(heard.total_s * (2 * number + 1) / (2 * num)) for number in range(num)]
    starts_s = [min(max(0.0, middle_s - length_s / 2), audio_s - length_s) for middle_s in middles_s]
    return [(round(start_s, 2), round(start_s + length_s, 2)) for start_s in dict.fromkeys(starts_s)]


def vote(heard_as: Sequence[tuple[tuple[float, float], Probabilities]], allowed: Sequence[str] = ()) -> LanguageVote:
    """
    The language with the highest mean probability, among those that are allowed.

    It is doubtful when that is under 0.5, or when a window by itself would have chosen another one.

    Args:
        heard_as: at least one window (start and end in seconds) with the probability of each language in it.
        allowed: codes; empty, or none that the model knows: all.
    """
    windows = [(window, _among(allowed, probabilities)) for window, probabilities in heard_as]
    total: Counter[str] = Counter()
    for _, probabilities in windows:
        total.update(probabilities)
    language = max(total, key=total.__getitem__)
    probability = total[language] / len(windows)
    agrees = all(max(each, key=each.__getitem__) == language for _, each in windows)
    return LanguageVote(
        language=language,
        probability=round(probability, 4),
        is_doubtful=probability < _SURE or not agrees,
        windows=tuple(_window(window, probabilities) for window, probabilities in windows),
    )


def _among(allowed: Sequence[str], probabilities: Probabilities) -> dict[str, float]:
    """The allowed ones' probabilities, which add up to 1."""
    kept = {code: probabilities[code] for code in allowed if code in probabilities} or dict(probabilities)
    total = sum(kept.values())
    return {code: probability / total if total else 1 / len(kept) for code, probability in kept.items()}


def _window(window: tuple[float, float], probabilities: Probabilities) -> LanguageWindow:
    best = sorted(probabilities.items(), key=lambda item: -item[1])[:_NUM_KEPT]
    return LanguageWindow(
        start_s=window[0], end_s=window[1], probabilities=tuple((code, round(value, 4)) for code, value in best)
    )


def listen(
    whisper: Any, samples: Any, windows: Sequence[tuple[float, float]], batch_size: int
) -> list[tuple[tuple[float, float], Probabilities]]:
    """
    What Whisper takes each window for.

    Args:
        whisper: a multilingual faster_whisper.WhisperModel.
        samples: float32 in [-1, 1], shape (num_samples,), 16 000 Hz; slices are taken.
        batch_size: windows at once.
    """
    answers: list[Probabilities] = []
    for first in range(0, len(windows), batch_size):
        features = np.stack([_features(whisper, samples, *window) for window in windows[first : first + batch_size]])
        for answer in whisper.model.detect_language(whisper.encode(features)):
            answers.append({token[2:-2]: float(probability) for token, probability in answer})  # "<|en|>"
    return list(zip(windows, answers, strict=True))


def _features(whisper: Any, samples: Any, start_s: float, end_s: float) -> Any:
    from faster_whisper.audio import pad_or_trim  # type: ignore[import-untyped]  # ships no type information

    part = samples[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)]
    return pad_or_trim(whisper.feature_extractor(part))


def language_doubtful(found: LanguageVote) -> ResultWarning:
    return ResultWarning(
        code="language_doubtful",
        message=f"The language is probably {found.language} ({found.probability:.0%}), but not surely. If it is "
        "another one, set the meeting's language and retry it.",
        stage=Stage.TRANSCRIBE,
    )


def code_of(language: str | None, whisper: Any) -> str | None:
    """
    Whisper's code for a language as people write it (`pt-BR`, `French`); None for none, unless the model knows English
    only. Raises UnsupportedLanguageError.
    """
    from whisperx.utils import TO_LANGUAGE_CODE

    if language is None or not language.strip():
        return None if whisper.model.is_multilingual else "en"
    name = language.strip().lower()
    code: str = TO_LANGUAGE_CODE.get(name) or re.split("[-_]", name)[0]
    is_known = code in whisper.supported_languages
    if not is_known or (whisper.model.is_multilingual and whisper.hf_tokenizer.token_to_id(f"<|{code}|>") is None):
        raise UnsupportedLanguageError(
            f"The Whisper model does not know the language '{language[:20]}'. Use a code such as en or de, or "
            "leave it empty to have it found out, then retry the meeting."
        )
    return code
