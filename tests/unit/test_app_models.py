"""Which models the settings need, under which names, and what is said of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.fake_hub import NO_TOKEN, FakeHub
from tests.support.settings import settings_in
from tests.support.web_server import WebServer, trusting
from worker import app_models
from worker.adapters.fetch_url import UrlFetcher
from worker.adapters.models_place import Model, file_name
from worker.app_model_names import model_named, models_of, unnamed_models
from worker.config import Settings
from worker.engine.catalogue import ALIGNERS, WHISPER_MODELS
from worker.exceptions import ConfigurationError, ModelUnavailableError
from worker.ports import Report


def whisperx_in(folder: Path, **variables: str) -> Settings:
    return settings_in(folder, **{"ASR_ENGINE": "whisperx", "WHISPER_MODEL": "small", **variables})


def names(models: tuple[Model, ...]) -> list[str]:
    return [model.name for model in models]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["small", "align-en"]),
        ({"ASR_ENGINE": "sphinx"}, []),
        ({"ALLOWED_LANGUAGES": "de,nl,xx"}, ["small", "align-de", "align-nl"]),
        ({"WHISPER_MODEL": "large"}, ["large-v3", "align-en"]),
        ({"WHISPER_MODEL": "Systran/faster-whisper-tiny"}, ["tiny", "align-en"]),
        ({"WHISPER_MODEL": "somebody/model", "ALIGN_MODEL": "some/aligner"}, ["somebody/model", "some/aligner"]),
        ({"WHISPER_MODEL": "/", "ALIGN_MODEL": "/"}, []),
        ({"WHISPER_MODEL": "auto", "ENABLE_GPU": "false"}, ["small", "align-en"]),
        ({"HF_TOKEN": "hf_x"}, ["small", "align-en", "pyannote"]),
        ({"HF_TOKEN": "hf_x", "DIARIZER": "bundled"}, ["small", "align-en"]),
        ({"DIARIZER": "pyannote", "PYANNOTE_MODEL": "some/pipeline"}, ["small", "align-en", "some/pipeline"]),
        ({"DIARIZER": "pyannote", "PYANNOTE_MODEL": "/"}, ["small", "align-en"]),
    ],
)
def test_what_the_settings_need_is_known(tmp_path: Path, variables: dict[str, str], expected: list[str]) -> None:
    assert names(models_of(whisperx_in(tmp_path, **variables))) == expected


def test_auto_takes_what_is_here_when_nothing_may_be_fetched(tmp_path: Path) -> None:
    settings = whisperx_in(tmp_path, WHISPER_MODEL="auto", ENABLE_GPU="false", MODELS_OFFLINE="true")
    snapshot = settings.model_cache_dir / "whisper" / "models--Systran--faster-whisper-tiny" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").write_bytes(b"weights")
    assert names(models_of(settings)) == ["tiny", "align-en"]


def test_every_model_of_the_catalogue_has_a_name_and_a_source(tmp_path: Path) -> None:
    """Aligners of torchaudio come from its server, everything else from the hub."""
    settings = whisperx_in(tmp_path)
    for name in (*WHISPER_MODELS, *(f"align-{code}" for code in ALIGNERS), "pyannote"):
        model = model_named(settings, name)
        assert model.repository or model.url
        assert model_named(settings, model.name) == model


def test_the_files_of_torchaudio_have_the_names_that_torchaudio_looks_for(tmp_path: Path) -> None:
    """Read from its source, because importing it costs seconds."""
    from importlib.metadata import distribution

    source = Path(str(distribution("torchaudio").locate_file("torchaudio/pipelines/_wav2vec2/impl.py"))).read_text()
    bundles = [aligner for aligner in ALIGNERS.values() if aligner.is_bundle]
    assert len(bundles) == 5
    for aligner in bundles:
        file = file_name(model_named(whisperx_in(tmp_path), f"align-{aligner.language}"))
        assert f'{aligner.name} = Wav2Vec2ASRBundle(\n    "{file}"' in source


@pytest.mark.parametrize("name", ["smal", "align-xx", "a/b/c", "../x", "/"])
def test_a_name_that_is_none_is_refused_with_those_that_are(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no model|align-en") as caught:
        model_named(whisperx_in(tmp_path), name)
    assert "turbo" in str(caught.value)


def test_a_folder_that_is_not_there_is_said_with_its_setting(tmp_path: Path) -> None:
    for variables in ({"WHISPER_MODEL": "/no/such/folder"}, {"ALIGN_MODEL": "./no-folder"}):
        with pytest.raises(ConfigurationError, match=next(iter(variables))):
            models_of(whisperx_in(tmp_path, **variables))


def test_what_else_takes_room_is_listed_under_its_name(tmp_path: Path) -> None:
    settings = whisperx_in(tmp_path)
    cache = settings.model_cache_dir
    for folder in (
        "whisper/models--Systran--faster-whisper-tiny",
        "whisper/models--some--odd--model",
        "align/models--jonatasgrosman--wav2vec2-large-xlsr-53-dutch",
        "align/fr",
        "align/nltk_data",
        "pyannote/models--pyannote--speaker-diarization-community-1",
    ):
        (cache / folder).mkdir(parents=True)
    (cache / "align" / "wav2vec2_voxpopuli_base_10k_asr_de.pt").write_bytes(b"weights")
    found = unnamed_models(settings, known=models_of(settings))
    assert names(found) == ["tiny", "some/odd--model", "align-nl", "pyannote", "align-de", "align-fr"]
    lines = {line.name: line for line in app_models.inventory(settings)}
    assert lines["align-de"].state is app_models.ModelState.COMPLETE
    assert lines["align-de"].size_bytes == 7
    assert lines["tiny"].state is app_models.ModelState.MISSING
    assert not lines["tiny"].is_needed


def test_nothing_is_asked_of_a_hub_when_settings_forbid_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--from-lab"):
        app_models.pull(whisperx_in(tmp_path, MODELS_OFFLINE="true"), ["small"])


def test_terms_that_nobody_accepted_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub({}, refusal=NO_TOKEN) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ModelUnavailableError, match=r"huggingface\.co/pyannote/speaker-diarization-community-1"):
            app_models.pull(whisperx_in(tmp_path), ["pyannote"])


def test_a_repository_with_something_else_in_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in the format of transformers, say, which faster-whisper cannot read."""
    with FakeHub({"openai/whisper-small": {"config.json": b"{}", "model.safetensors": b"x" * 2000}}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(ModelUnavailableError, match=r"holds no whisper model .* model\.bin"):
            app_models.pull(whisperx_in(tmp_path), ["openai/whisper-small"])


async def test_an_aligner_of_torchaudio_comes_from_its_own_server(tmp_path: Path) -> None:
    """Fetched as recordings are (resumed, redirects checked), and its checksum is written down for `check`."""
    settings = whisperx_in(tmp_path)
    async with WebServer(tmp_path, b"weights" * 1000) as server:
        web = AtTestServer(server)
        assert await asyncio.to_thread(app_models.pull, settings, ["align-de"], web=web) == ("align-de",)
        await asyncio.to_thread(app_models.pull, settings, ["align-de"], web=web)
        assert web.asked == ["https://download.pytorch.org/torchaudio/models/wav2vec2_voxpopuli_base_10k_asr_de.pt"]
        file = settings.model_cache_dir / "align" / "wav2vec2_voxpopuli_base_10k_asr_de.pt"
        file.write_bytes(b"damaged" * 1000)
        await asyncio.to_thread(app_models.pull, settings, ["align-de"], web=web)
    assert file.read_bytes() == b"weights" * 1000
    assert app_models.check(settings, ["align-de"]) == (app_models.Checked("align-de", ()),)
    file.write_bytes(b"damaged" * 1000)
    assert app_models.check(settings, ["align-de"]) == (app_models.Checked("align-de", (f"{file.name} is damaged",)),)


def test_a_folder_that_somebody_made_is_checked_and_never_replaced(tmp_path: Path) -> None:
    """It is used before anything of a hub's, and `pull` writes down what is in it."""
    settings = whisperx_in(tmp_path)
    folder = settings.model_cache_dir / "align" / "nl"
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.json", "model.safetensors"):
        (folder / name).write_text(name)
    assert app_models.check(settings, ["align-nl"]) == (app_models.Checked("align-nl", None),)
    assert app_models.pull(settings, ["align-nl"]) == ("align-nl",)
    assert app_models.check(settings, ["align-nl"]) == (app_models.Checked("align-nl", ()),)
    (folder / "vocab.json").write_text("changed")
    with pytest.raises(ModelUnavailableError, match=r"by hand and is damaged: vocab\.json"):
        app_models.pull(settings, ["align-nl"])


class AtTestServer:
    """Asks the test's server for whatever is asked for."""

    def __init__(self, server: WebServer) -> None:
        self._url = server.url
        self.asked: list[str] = []

    async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
        self.asked.append(address)
        fetcher = UrlFetcher(allow_private=True, ssl_context=trusting())
        await fetcher.fetch(self._url, target, max_bytes=max_bytes, report=report)


async def test_only_whole_models_are_pushed(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="models pull small"):
        await app_models.push(whisperx_in(tmp_path), ["small"])


# --- for the demo --------------------------------------------------------------------------------------------------


async def test_a_whisper_model_is_found_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the cache, in a folder, on a hub that answers; nowhere else, and never when the hub may not be asked."""
    settings = whisperx_in(tmp_path)
    with FakeHub({}) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert "hub" in str(await app_models.whisper_at_hand(settings))
        assert await app_models.whisper_at_hand(whisperx_in(tmp_path, MODELS_OFFLINE="true")) is None
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert await app_models.whisper_at_hand(settings) is None
        monkeypatch.delenv("HF_HUB_OFFLINE")
    assert await app_models.whisper_at_hand(settings) is None  # it has gone
    home = settings.model_cache_dir / "whisper" / "models--Systran--faster-whisper-small"
    (home / "snapshots" / "abc").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    (home / "snapshots" / "abc" / "config.json").write_text("{}")
    assert await app_models.whisper_at_hand(settings) is None  # a download that was cut off
    (home / "snapshots" / "abc" / "model.bin").write_text("weights")
    assert "MODEL_CACHE_DIR" in str(await app_models.whisper_at_hand(settings))
    folder = str(home / "snapshots" / "abc")
    assert "folder" in str(await app_models.whisper_at_hand(whisperx_in(tmp_path, WHISPER_MODEL=folder)))
    assert await app_models.whisper_at_hand(whisperx_in(tmp_path, WHISPER_MODEL=str(home))) is None
    assert await app_models.whisper_at_hand(whisperx_in(tmp_path, WHISPER_MODEL="./nowhere")) is None
