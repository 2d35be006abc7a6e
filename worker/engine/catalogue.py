"""
What is known of the models: how large, how fast, for which languages, under which licence. One table; torch-free.

Sources of the figures:
    [whisper]  github.com/openai/whisper, README, "Available models and languages": relative speed, languages, MIT
    [distil]   github.com/huggingface/distil-whisper, README: relative speed (against large-v2), English only, MIT
    [faster]   faster-whisper 1.2.1, README, "Benchmark" (RTX 3070 Ti, beam 5): large-v2 takes 4525 MB in float16 and
               6090 MB with eight passages, in int8 2926 and 4500 MB
    [turbo]    github.com/SYSTRAN/faster-whisper/issues/1030: turbo takes 2537 MB in float16, 1545 MB in int8;
               distil-large-v3 2409 and 1481 MB
Parameters are counted from the architectures (layers and widths of [whisper]); what a passage takes is an estimate from
them: the larger of what the encoder needs (its attention over 1500 frames) and of what the decoder keeps (keys and
values of 1500 frames, and of about 100 tokens in five beams). For large-v2 that is 330 MB against 224 MB measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ENGLISH = "en"
ALL_LANGUAGES = "all"

BYTES_PER_PARAMETER: dict[str, float] = {
    "float32": 4.0,
    "float16": 2.0,
    "bfloat16": 2.0,
    "int8_float16": 1.06,
    "int8": 1.06,
}
"""Of the weights in CTranslate2. In int8 the norms, biases and scales stay larger: 6 % is an estimate."""

RUNTIME_VRAM_BYTES = 950_000_000
"""CUDA's context, cuBLAS, cuDNN and one passage's scratch, whatever the model: what is left of [turbo]'s figures."""

_TOKENIZER_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class WhisperModel:
    """
    A Whisper model that faster-whisper knows by name.

    Attributes:
        name: as people set it; ALIASES has other spellings.
        repository: where the Hugging Face hub has it in CTranslate2 format, float16.
        num_parameters: an exact count.
        passage_vram_bytes: estimated, for each passage of a batch, in float16; int8 changes little there.
        relative_speed: large-v3 is 1; on a GPU.
        languages: ALL_LANGUAGES, or ENGLISH.
        source: of speed and languages, see above.
    """

    name: str
    repository: str
    num_parameters: int
    passage_vram_bytes: int
    relative_speed: float
    languages: str
    source: str
    licence: str = "MIT"

    @property
    def download_bytes(self) -> int:
        """About: weights in float16 and the tokenizer; within one percent of the hub's files where known."""
        return self.num_parameters * 2 + _TOKENIZER_BYTES

    def weights_bytes(self, compute_type: str) -> int:
        """VRAM (or RAM) of the weights in one of BYTES_PER_PARAMETER's formats."""
        return int(self.num_parameters * BYTES_PER_PARAMETER[compute_type])

    def vram_bytes(self, compute_type: str, batch_size: int) -> int:
        """All that transcribing takes on a GPU, the runtime included."""
        return RUNTIME_VRAM_BYTES + self.weights_bytes(compute_type) + batch_size * self.passage_vram_bytes


@dataclass(frozen=True, slots=True)
class AlignerModel:
    """A wav2vec2 model that whisperx takes for a language; `is_bundle`: one of torchaudio's, else the hub's."""

    language: str
    name: str
    download_bytes: int
    licence: str
    source: str
    is_bundle: bool = False


@dataclass(frozen=True, slots=True)
class DiarizationModel:
    """A pyannote pipeline on the hub; `is_gated`: its terms are accepted there once, with an account."""

    name: str
    repository: str
    download_bytes: int
    licence: str
    is_gated: bool
    source: str


def _mb(megabytes: float) -> int:
    return int(megabytes * 1e6)


def _whisper(
    name: str, millions: float, passage_mb: float, speed: float, languages: str = ALL_LANGUAGES
) -> WhisperModel:
    repository = f"Systran/faster-whisper-{name}"
    return WhisperModel(name, repository, _mb(millions), _mb(passage_mb), speed, languages, "[whisper]")


def _distilled(name: str, millions: float, passage_mb: float, speed: float, repository: str = "") -> WhisperModel:
    repository = repository or f"Systran/faster-distil-whisper-{name.removeprefix('distil-')}"
    return WhisperModel(name, repository, _mb(millions), _mb(passage_mb), speed, ENGLISH, "[distil]")


_MODELS = (
    _whisper("tiny", 37.8, 30, 10),
    _whisper("tiny.en", 37.8, 30, 10, ENGLISH),
    _whisper("base", 72.6, 40, 7),
    _whisper("base.en", 72.6, 40, 7, ENGLISH),
    _whisper("small", 241.7, 75, 4),
    _whisper("small.en", 241.7, 75, 4, ENGLISH),
    _whisper("medium", 763.9, 200, 2),
    _whisper("medium.en", 763.9, 200, 2, ENGLISH),
    _whisper("large-v1", 1543.5, 330, 1),
    _whisper("large-v2", 1543.5, 330, 1),
    _whisper("large-v3", 1543.5, 330, 1),
    WhisperModel(
        "turbo",
        "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        _mb(808.9),
        _mb(130),
        8,
        ALL_LANGUAGES,
        "[whisper]",
    ),
    _distilled("distil-small.en", 166.1, 65, 5.6),
    _distilled("distil-medium.en", 394.4, 90, 6.8),
    _distilled("distil-large-v2", 756.4, 120, 5.8),
    _distilled("distil-large-v3", 756.4, 120, 6.3),
    _distilled("distil-large-v3.5", 756.4, 120, 6.3, "distil-whisper/distil-large-v3.5-ct2"),
)

ALIASES: Mapping[str, str] = {"large": "large-v3", "large-v3-turbo": "turbo"}
"""Other names of faster-whisper for the same repositories."""

WHISPER_MODELS: Mapping[str, WhisperModel] = {
    **{model.name: model for model in _MODELS},
    **{alias: next(model for model in _MODELS if model.name == name) for alias, name in ALIASES.items()},
}
"""By each name that faster-whisper knows, aliases included. Source of names and repositories: faster_whisper.utils."""

REPOSITORIES: Mapping[str, str] = {name: model.repository for name, model in WHISPER_MODELS.items()}

_BASE_BYTES, _LARGE_BYTES, _1B_BYTES = _mb(378), _mb(1_262), _mb(3_850)
"""Of wav2vec2 in float32: base (94 M parameters), large and XLS-R 300M (315 M), XLS-R 1B (962 M)."""

_ON_ITS_CARD = "see its model card"


def _bundle(language: str, name: str, licence: str) -> AlignerModel:
    return AlignerModel(language, name, _BASE_BYTES, licence, "torchaudio.pipelines", is_bundle=True)


def _on_hub(language: str, name: str, size_bytes: int = _LARGE_BYTES) -> AlignerModel:
    return AlignerModel(language, name, size_bytes, _ON_ITS_CARD, f"https://huggingface.co/{name}")


_ALIGNERS = (
    _bundle("en", "WAV2VEC2_ASR_BASE_960H", "MIT"),
    _bundle("fr", "VOXPOPULI_ASR_BASE_10K_FR", "CC-BY-NC-4.0"),
    _bundle("de", "VOXPOPULI_ASR_BASE_10K_DE", "CC-BY-NC-4.0"),
    _bundle("es", "VOXPOPULI_ASR_BASE_10K_ES", "CC-BY-NC-4.0"),
    _bundle("it", "VOXPOPULI_ASR_BASE_10K_IT", "CC-BY-NC-4.0"),
    _on_hub("ja", "jonatasgrosman/wav2vec2-large-xlsr-53-japanese"),
    _on_hub("zh", "jonatasgrosman/wav2vec2-large-xlsr-53-chinese-zh-cn"),
    _on_hub("nl", "jonatasgrosman/wav2vec2-large-xlsr-53-dutch"),
    _on_hub("uk", "Yehor/wav2vec2-xls-r-300m-uk-with-small-lm"),
    _on_hub("pt", "jonatasgrosman/wav2vec2-large-xlsr-53-portuguese"),
    _on_hub("ar", "jonatasgrosman/wav2vec2-large-xlsr-53-arabic"),
    _on_hub("cs", "comodoro/wav2vec2-xls-r-300m-cs-250"),
    _on_hub("ru", "jonatasgrosman/wav2vec2-large-xlsr-53-russian"),
    _on_hub("pl", "jonatasgrosman/wav2vec2-large-xlsr-53-polish"),
    _on_hub("hu", "jonatasgrosman/wav2vec2-large-xlsr-53-hungarian"),
    _on_hub("fi", "jonatasgrosman/wav2vec2-large-xlsr-53-finnish"),
    _on_hub("fa", "jonatasgrosman/wav2vec2-large-xlsr-53-persian"),
    _on_hub("el", "jonatasgrosman/wav2vec2-large-xlsr-53-greek"),
    _on_hub("tr", "mpoyraz/wav2vec2-xls-r-300m-cv7-turkish"),
    _on_hub("da", "saattrupdan/wav2vec2-xls-r-300m-ftspeech"),
    _on_hub("he", "imvladikon/wav2vec2-xls-r-300m-hebrew"),
    _on_hub("vi", "nguyenvulebinh/wav2vec2-base-vi-vlsp2020", _BASE_BYTES),
    _on_hub("ko", "kresnik/wav2vec2-large-xlsr-korean"),
    _on_hub("ur", "kingabzpro/wav2vec2-large-xls-r-300m-Urdu"),
    _on_hub("te", "anuragshas/wav2vec2-large-xlsr-53-telugu"),
    _on_hub("hi", "theainerd/Wav2Vec2-large-xlsr-hindi"),
    _on_hub("ca", "softcatala/wav2vec2-large-xlsr-catala"),
    _on_hub("ml", "gvs/wav2vec2-large-xlsr-malayalam"),
    _on_hub("no", "NbAiLab/nb-wav2vec2-1b-bokmaal-v2", _1B_BYTES),
    _on_hub("nn", "NbAiLab/nb-wav2vec2-1b-nynorsk", _1B_BYTES),
    _on_hub("sk", "comodoro/wav2vec2-xls-r-300m-sk-cv8"),
    _on_hub("sl", "anton-l/wav2vec2-large-xlsr-53-slovenian"),
    _on_hub("hr", "classla/wav2vec2-xls-r-parlaspeech-hr"),
    _on_hub("ro", "gigant/romanian-wav2vec2"),
    _on_hub("eu", "stefan-it/wav2vec2-large-xlsr-53-basque"),
    _on_hub("gl", "ifrz/wav2vec2-large-xlsr-galician"),
    _on_hub("ka", "xsway/wav2vec2-large-xlsr-georgian"),
    _on_hub("lv", "jimregan/wav2vec2-large-xlsr-latvian-cv"),
    _on_hub("tl", "Khalsuu/filipino-wav2vec2-l-xls-r-300m-official"),
    _on_hub("sv", "KBLab/wav2vec2-large-voxrex-swedish"),
    _on_hub("id", "cahya/wav2vec2-large-xlsr-indonesian"),
)

ALIGNERS: Mapping[str, AlignerModel] = {aligner.language: aligner for aligner in _ALIGNERS}
"""By language code. Source of names: whisperx.alignment 3.8.6; licences of the bundles: torchaudio's documentation."""

COMMUNITY_1 = DiarizationModel(
    name="community-1",
    repository="pyannote/speaker-diarization-community-1",
    download_bytes=_mb(34),  # an estimate
    licence="CC-BY-4.0",
    is_gated=True,
    source="https://huggingface.co/pyannote/speaker-diarization-community-1",
)
