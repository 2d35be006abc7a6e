"""Models in the lab's own storage: pushed from one PC, brought to another, whichever storage it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import project_keys
from tests.support.fake_hub import REVISION
from tests.support.fake_storage import FakeStorage
from worker.adapters.models_bundle import LabModels
from worker.adapters.models_check import problems_of
from worker.adapters.models_manifest import Manifest, attribution_of, described, kept_manifest
from worker.adapters.models_place import Layout, Model, find, is_complete
from worker.adapters.storage_local import LocalStorage
from worker.adapters.storage_supabase import SupabaseStorage
from worker.exceptions import AudioDownloadError, ModelUnavailableError, SupabaseAccessError, SupabaseStorageError
from worker.ports import Report, Storage, unheard

WEIGHTS = bytes(range(256)) * 40
PART_BYTES = 4000
FILES = {
    "config.yaml": b"pipeline: x",
    "README.md": b"# terms",
    "empty.txt": b"",
    "segmentation/pytorch_model.bin": WEIGHTS,
    "embedding/pytorch_model.bin": WEIGHTS,  # the same bytes twice
}
PYANNOTE = Model(
    name="pyannote",
    kind="diarizer",
    room="pyannote",
    repository="pyannote/speaker-diarization-community-1",
    needs=("config.yaml",),
    licence="CC-BY-4.0",
    page="https://huggingface.co/pyannote/speaker-diarization-community-1",
)
GERMAN = Model(name="align-de", kind="aligner", room="align", url="https://example.org/models/de.pt", language="de")


@dataclass
class Lab:
    """`mine` may write, `yours` is what the worker of another PC reads with."""

    mine: Storage
    yours: Storage
    there: Callable[[str], Path]


@contextmanager
def local(folder: Path) -> Iterator[Lab]:
    (folder / "recordings").mkdir()
    storage = LocalStorage(folder / "recordings")
    yield Lab(storage, storage, lambda name: folder / "recordings" / name)


@contextmanager
def supabase(_folder: Path) -> Iterator[Lab]:
    with FakeStorage() as fake:
        admin = SupabaseStorage(fake.url, project_keys.token("service_role"))
        worker = SupabaseStorage(
            fake.url, project_keys.PUBLISHABLE_KEY, worker_token=project_keys.token("meeting_worker")
        )
        yield Lab(admin, worker, lambda name: fake.objects[name].path)


STORAGES: dict[str, Callable[[Path], AbstractContextManager[Lab]]] = {"local": local, "supabase": supabase}


@pytest.fixture(params=["local", pytest.param("supabase", marks=pytest.mark.slow)])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    with STORAGES[request.param](tmp_path) as lab:
        yield lab


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A PC that has the model."""
    cache = tmp_path / "here"
    home = cache / "pyannote" / "models--pyannote--speaker-diarization-community-1"
    for name, content in FILES.items():
        path = home / "snapshots" / REVISION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(REVISION)
    return cache


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A PC that has nothing."""
    (tmp_path / "other").mkdir()
    return tmp_path / "other"


def manifest_of(cache: Path, model: Model = PYANNOTE, **changed: Any) -> tuple[Manifest, Path]:
    found = find(cache, model)
    assert found is not None
    manifest = Manifest(
        name=model.name,
        kind=model.kind,
        layout=found.layout,
        repository=model.repository,
        revision=found.revision,
        licence=model.licence,
        attribution=attribution_of(model),
        part_bytes=PART_BYTES,
        files=tuple(described(found.folder / name, name) for name in found.files),
    )
    return manifest.model_copy(update=changed), found.folder


async def pushed(lab: Lab, cache: Path, model: Model = PYANNOTE, *, again: bool = False) -> int:
    manifest, folder = manifest_of(cache, model)
    return await LabModels(lab.mine, cache).push(model, manifest, folder, again=again)


async def brought(storage: Storage, cache: Path, model: Model = PYANNOTE, report: Report = unheard) -> None:
    models = LabModels(storage, cache)
    manifest = await models.manifest(model)
    assert manifest is not None
    await models.bring(model, manifest, report)


class Counting:
    """A storage that knows what was asked of it, and gives out only so many pieces."""

    def __init__(self, storage: Storage, num_allowed: int = 10**6) -> None:
        self._storage = storage
        self._num_allowed = num_allowed
        self.fetched: list[str] = []

    async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
        if not address.endswith(".json"):
            if len(self.fetched) == self._num_allowed:
                raise AudioDownloadError  # what is left of a line that stays cut
            self.fetched.append(address)
        await self._storage.fetch(address, target, max_bytes=max_bytes, report=report)

    async def put(self, source: Path, audio_path: str, *, report: Report = unheard) -> None:
        await self._storage.put(source, audio_path, report=report)


# --- there and back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lab", STORAGES, indirect=True)
async def test_what_one_pc_pushes_another_has_where_its_engine_looks(lab: Lab, here: Path, other: Path) -> None:
    """Every file, the checksums, the attribution; and nothing is left over."""
    await pushed(lab, here)
    await brought(lab.yours, other)
    found = find(other, PYANNOTE)
    assert found is not None
    assert found.revision == REVISION
    assert {name: (found.folder / name).read_bytes() for name in found.files} == FILES
    assert is_complete(other, PYANNOTE, found)
    assert problems_of(other, PYANNOTE, found) == ()
    assert "CC-BY-4.0" in (other / "manifests" / "pyannote.ATTRIBUTION.txt").read_text()
    assert {path.name for path in other.iterdir()} <= {"pyannote", "manifests", ".from-lab"}
    assert [path.name for path in (other / ".from-lab").iterdir()] == ["pyannote.lock"]


async def test_the_hubs_own_client_finds_it_offline(lab: Lab, here: Path, other: Path) -> None:
    from huggingface_hub import hf_hub_download

    await pushed(lab, here)
    await brought(lab.yours, other)
    found = hf_hub_download(
        str(PYANNOTE.repository), "config.yaml", cache_dir=other / "pyannote", local_files_only=True
    )
    assert Path(found).read_bytes() == FILES["config.yaml"]


async def test_nobody_has_to_unpack_more_than_an_object_may_hold(lab: Lab, here: Path) -> None:
    """10240 bytes in pieces of 4000; equal pieces are one object. Beside them the papers."""
    num_sent = await pushed(lab, here)
    parts = [hashlib.sha256(WEIGHTS[start : start + PART_BYTES]).hexdigest() for start in (0, 4000, 8000)]
    assert [len(lab.there(f"models/pyannote/{part}").read_bytes()) for part in parts] == [4000, 4000, 2240]
    assert num_sent == 5
    assert "pyannote" in lab.there("models/pyannote/ATTRIBUTION.txt").read_text()


async def test_a_second_push_sends_only_the_list(lab: Lab, here: Path) -> None:
    await pushed(lab, here)
    assert await pushed(lab, here) == 0
    assert await pushed(lab, here, again=True) == 8


async def test_a_single_file_and_a_folder_arrive_too(lab: Lab, tmp_path: Path, other: Path) -> None:
    (tmp_path / "pc" / "align").mkdir(parents=True)
    (tmp_path / "pc" / "align" / "de.pt").write_bytes(WEIGHTS)
    await pushed(lab, tmp_path / "pc", GERMAN)
    await brought(lab.yours, other, GERMAN)
    assert (other / "align" / "de.pt").read_bytes() == WEIGHTS
    (tmp_path / "pc" / "align" / "de").mkdir()
    (tmp_path / "pc" / "align" / "de" / "config.json").write_bytes(b"{}")
    await pushed(lab, tmp_path / "pc", GERMAN)
    await brought(lab.yours, other, GERMAN)
    assert (other / "align" / "de" / "config.json").read_bytes() == b"{}"


async def test_what_was_never_pushed_is_no_error(lab: Lab, other: Path) -> None:
    assert await LabModels(lab.yours, other).manifest(PYANNOTE) is None


async def test_progress_ends_at_one_and_never_falls(lab: Lab, here: Path, other: Path) -> None:
    told: list[float] = []
    manifest, folder = manifest_of(here)
    await LabModels(lab.mine, here).push(PYANNOTE, manifest, folder, report=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    told.clear()
    await brought(lab.yours, other, report=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


# --- cut off, damaged ----------------------------------------------------------------------------------------------


async def test_pieces_that_have_arrived_are_not_fetched_again(lab: Lab, here: Path, other: Path) -> None:
    await pushed(lab, here)
    cut = Counting(lab.yours, num_allowed=3)
    with pytest.raises(SupabaseStorageError, match="goes on where it ended"):
        await brought(cut, other)
    assert find(other, PYANNOTE) is None
    rest = Counting(lab.yours)
    await brought(rest, other)
    assert len(cut.fetched) + len(rest.fetched) == 8


async def test_what_is_here_and_right_is_not_fetched_and_what_is_damaged_is(lab: Lab, here: Path, other: Path) -> None:
    await pushed(lab, here)
    await brought(lab.yours, other)
    found = find(other, PYANNOTE)
    assert found is not None
    (found.folder / "config.yaml").write_bytes(b"pipeline: y")
    assert problems_of(other, PYANNOTE, found) == ("config.yaml is damaged",)
    counting = Counting(lab.yours)
    await brought(counting, other)
    assert len(counting.fetched) == 1
    assert problems_of(other, PYANNOTE, found) == ()


async def test_a_piece_that_is_damaged_in_the_storage_is_refused_with_the_remedy(
    lab: Lab, here: Path, other: Path
) -> None:
    await pushed(lab, here)
    piece = lab.there("models/pyannote/" + hashlib.sha256(FILES["config.yaml"]).hexdigest())
    piece.write_bytes(b"pipeline: y")
    with pytest.raises(ModelUnavailableError, match="push --again pyannote"):
        await brought(lab.yours, other)
    assert find(other, PYANNOTE) is None
    await pushed(lab, here, again=True)
    await brought(lab.yours, other)


async def test_a_piece_that_is_gone_is_refused_with_the_remedy(lab: Lab, here: Path, other: Path) -> None:
    manifest, folder = manifest_of(here)
    await pushed(lab, here)
    ghost = replace_part(with_parts(manifest), "0" * 64)
    with pytest.raises(ModelUnavailableError, match="incomplete or damaged in the lab's storage"):
        await LabModels(lab.yours, other).bring(PYANNOTE, ghost)
    assert folder.is_dir()


async def test_two_pulls_of_one_model_do_not_mix(lab: Lab, here: Path, other: Path) -> None:
    await pushed(lab, here)
    seconds: list[str] = []

    class Nosy(Counting):
        async def fetch(self, address: str, target: Path, *, max_bytes: int, report: Report) -> None:
            if not address.endswith(".json") and not seconds:
                seconds.append(address)
                with pytest.raises(ModelUnavailableError, match="is being pulled on this PC already"):
                    await brought(lab.yours, other)
            await super().fetch(address, target, max_bytes=max_bytes, report=report)

    await brought(Nosy(lab.yours), other)
    assert len(seconds) == 1


async def test_a_worker_reads_and_cannot_push(here: Path, tmp_path: Path) -> None:
    """Its token lets a lab PC fetch models; only an administrator's key puts them there."""
    with supabase(tmp_path) as lab:
        manifest, folder = manifest_of(here)
        with pytest.raises(SupabaseAccessError, match="may not upload"):
            await LabModels(lab.yours, here).push(PYANNOTE, manifest, folder)


# --- a list that somebody else wrote -------------------------------------------------------------------------------


def with_parts(manifest: Manifest) -> Manifest:
    files = tuple(
        file.model_copy(update={"parts": tuple("a" * 64 for _ in range(manifest.num_parts_of(file)))})
        for file in manifest.files
    )
    return manifest.model_copy(update={"files": files})


def replace_part(manifest: Manifest, part: str) -> Manifest:
    first = manifest.files[0].model_copy(update={"parts": (part,)})
    return manifest.model_copy(update={"files": (first, *manifest.files[1:])})


EVIL: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("a path up and out", lambda said: said["files"][0].update(path="../../../../evil")),
    ("an absolute path", lambda said: said["files"][0].update(path="/etc/evil")),
    ("an empty name", lambda said: said["files"][0].update(path="a//b")),
    ("a backslash", lambda said: said["files"][0].update(path="a\\b")),
    ("a control character", lambda said: said["files"][0].update(path="a\x00b")),
    ("the same file twice", lambda said: said["files"].append(said["files"][0])),
    ("a revision that leads out", lambda said: said.update(revision="../../..")),
    ("a checksum that leads out", lambda said: said["files"][0].update(parts=["../x"])),
    ("fewer pieces than bytes", lambda said: said["files"][-1].update(parts=[])),
    ("more in a piece than an object may hold", lambda said: said.update(part_bytes=10**12)),
    ("a negative size", lambda said: said["files"][0].update(size_bytes=-1)),
    ("another model", lambda said: said.update(repository="somebody/else")),
    ("another name", lambda said: said.update(name="small")),
    ("another kind", lambda said: said.update(kind="whisper")),
    ("another layout", lambda said: said.update(layout="folder")),
    ("a file in another place", lambda said: said.update(layout="file", files=[{**said["files"][0], "path": "x.pt"}])),
    ("something more", lambda said: said.update(run="rm")),
    ("another format", lambda said: said.update(format=2)),
]


@pytest.mark.parametrize(("what", "change"), EVIL, ids=[what for what, _ in EVIL])
async def test_a_list_that_leads_elsewhere_is_refused_and_writes_nothing(
    here: Path, other: Path, tmp_path: Path, what: str, change: Callable[[dict[str, Any]], object]
) -> None:
    with local(tmp_path) as lab:
        await pushed(lab, here)
        manifest_file = lab.there("models/pyannote/manifest.json")
        said = json.loads(manifest_file.read_bytes())
        change(said)
        manifest_file.write_text(json.dumps(said))
        with pytest.raises(ModelUnavailableError, match="Push"):
            await brought(lab.yours, other)
    assert not list(other.rglob("evil")), what
    assert find(other, PYANNOTE) is None
    assert kept_manifest(other, PYANNOTE) is None


def test_a_single_file_is_a_name_and_nothing_else() -> None:
    """It lies in a folder that all aligners share."""
    for name in ("a/b.pt", ".hidden.pt", "de", "manifest.json", "-rf.pt"):
        file = {"path": name, "size_bytes": 0, "sha256": "a" * 64}
        with pytest.raises(ValueError, match="single file"):
            Manifest(
                name="align-de", kind="aligner", layout=Layout.FILE, repository=None, revision=None, licence="",
                attribution="", files=(file,),
            )  # fmt: skip


def test_the_attribution_names_work_makers_source_and_licence() -> None:
    """What CC-BY-4.0 asks of whoever passes something on."""
    text = attribution_of(PYANNOTE)
    assert all(word in text for word in ("community-1", "pyannote", "CC-BY-4.0", "https://huggingface.co/", "Changes"))
    assert "align" not in attribution_of(replace(PYANNOTE, name="align-x"))
