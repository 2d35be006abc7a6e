"""The job folder: what a stage left is reused when it fits, and only then; two processes never share one."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.support.queue_worlds import result
from worker.exceptions import DiskFullError
from worker.job_folder import JobFolder, KeptResult, job_folders, lock_job_folder, open_job_folder, value_key
from worker.models import Stage, StageCost, Transcript, Word

MEETING = UUID(int=7)
HEARD = Transcript(words=(Word(text="hi", start_s=0.1, end_s=0.2),), language="en", engine="e", model="m")
FILES = ("source", "audio.wav", "decode.json")
COST = StageCost(seconds=12.5, peak_rss_bytes=2**30)


def free_folders(root: Path) -> list[JobFolder]:
    """Those in which nobody works, locked."""
    return [folder for path in job_folders(root) if (folder := lock_job_folder(path)) is not None]


def test_a_value_comes_back_under_its_key_only(tmp_path: Path) -> None:
    folder = open_job_folder(tmp_path, MEETING, 1)
    folder.save(Stage.TRANSCRIBE, value_key("sha", "en"), HEARD, COST)
    assert folder.load(Stage.TRANSCRIBE, value_key("sha", "en"), Transcript) == (HEARD, COST)
    assert folder.load(Stage.TRANSCRIBE, value_key("sha", "de"), Transcript) is None
    assert folder.load(Stage.ALIGN, value_key("sha", "en"), Transcript) is None
    folder.close()


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": "k"}', b'{"key": "k", "value": {"words": 1}}', b"\xff"])
def test_a_damaged_value_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    folder = open_job_folder(tmp_path, MEETING, 1)
    (folder.path / "transcribe.json").write_bytes(damage)
    assert folder.load(Stage.TRANSCRIBE, "k", Transcript) is None
    folder.close()


def test_only_the_owner_may_look_inside(tmp_path: Path) -> None:
    folder = open_job_folder(tmp_path, MEETING, 1)
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    folder.close()


def test_a_result_comes_back_after_a_restart(tmp_path: Path) -> None:
    folder = open_job_folder(tmp_path, MEETING, 1)
    kept = KeptResult(meeting_id=MEETING, token=41, result=result("hello"))
    folder.save_result(kept)
    folder.close()
    (again,) = free_folders(tmp_path)
    assert again.load_result() == kept
    again.remove()
    assert not list(tmp_path.iterdir())


def test_while_another_process_works_in_the_folder_a_new_claim_gets_its_own(tmp_path: Path) -> None:
    """A worker whose lease was lost may not have noticed yet."""
    code = (
        "import sys, uuid, pathlib; from worker.job_folder import open_job_folder;"
        "open_job_folder(pathlib.Path(sys.argv[1]), uuid.UUID(int=7), 1); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        assert list(free_folders(tmp_path)) == []
        mine = open_job_folder(tmp_path, MEETING, 2)
        assert mine.path.name == f"{MEETING}-2"
        mine.remove()
        other.kill()
    (free,) = free_folders(tmp_path)
    assert free.path.name == str(MEETING)
    free.close()


def test_other_things_in_the_temp_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "somebody-elses").mkdir()
    (tmp_path / "note.txt").write_text("keep")
    (tmp_path / str(uuid4())).symlink_to("/tmp")
    assert list(free_folders(tmp_path)) == []


def test_a_full_disk_has_a_name_and_leaves_no_half_file(tmp_path: Path) -> None:
    folder = open_job_folder(tmp_path, MEETING, 1)
    (folder.path / "transcribe.json.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError):
        folder.save(Stage.TRANSCRIBE, "k", HEARD, COST)
    assert sorted(path.name for path in folder.path.iterdir()) == ["lock"]
    folder.close()


def test_nobody_loses_a_file_to_somebody_who_removes_the_folder(tmp_path: Path) -> None:
    """Openers and removers of one folder at once: whoever has it has it to himself, and all that he wrote."""
    is_over, path = threading.Event(), tmp_path / str(MEETING)

    def remove() -> None:
        while not is_over.is_set():
            if (folder := lock_job_folder(path)) is not None:
                assert folder.remove() is None

    def work(first_token: int) -> int:
        num_kept = 0
        for token in range(first_token, first_token + 100):
            folder = open_job_folder(tmp_path, MEETING, token)
            for name in FILES:
                (folder.path / name).write_text(str(token))
            num_kept += all((folder.path / name).read_text() == str(token) for name in FILES)
            folder.close()
        return num_kept

    with ThreadPoolExecutor() as pool:
        removing = [pool.submit(remove) for _ in range(2)]
        working = [pool.submit(work, first_token) for first_token in (100, 200)]
        try:
            assert [future.result() for future in working] == [100, 100]
        finally:
            is_over.set()
        assert [future.result() for future in removing] == [None, None]


# --- completed -----------------------------------------------------------------------------------------------------


def test_of_a_completed_meeting_only_its_stages_values_stay(tmp_path: Path) -> None:
    """A download's own notes end in .json as well."""
    folder = open_job_folder(tmp_path, MEETING, 1)
    folder.save(Stage.TRANSCRIBE, "k", HEARD, COST)
    folder.save("align-2", "k", HEARD, COST)
    folder.save_result(KeptResult(meeting_id=MEETING, token=41, result=result("hello")))
    for name in ("source", ".source.part.json", "audio.wav", "audio-1.wav", "diarize.json.part"):
        (folder.path / name).write_bytes(b"x")
    folder.keep_stages()
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "align-2.json",
        "finished",
        "lock",
        "transcribe.json",
    ]
    (again,) = free_folders(tmp_path)
    assert again.finished_at is not None
    again.close()


KILLED_AT_A_REMOVAL = """
import os, signal, sys, pathlib
from worker.job_folder import lock_job_folder
left = [int(sys.argv[2])]
def count(event, _):
    if event == "os.remove":
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
lock_job_folder(pathlib.Path(sys.argv[1])).keep_stages()
"""


@pytest.mark.slow
def test_who_is_killed_while_a_completed_meeting_is_tidied_leaves_no_recording_without_its_result(
    tmp_path: Path,
) -> None:
    """By the result the next start knows that the folder is yet to be tidied."""
    names = ("source", "audio.wav", "transcribe.json")
    for num_removed in range(4):
        folder = open_job_folder(tmp_path, MEETING, 1)
        folder.save_result(KeptResult(meeting_id=MEETING, token=41, result=result("hello")))
        for name in names:
            (folder.path / name).write_bytes(b"x")
        folder.close()
        code = [sys.executable, "-c", KILLED_AT_A_REMOVAL, str(folder.path), str(num_removed)]
        assert subprocess.run(code, check=False).returncode == (-signal.SIGKILL if num_removed < 3 else 0)
        left = {path.name for path in folder.path.iterdir()} - {"lock"}
        assert left == {"finished", "transcribe.json"} if num_removed == 3 else "result.json" in left
        assert {"finished", "transcribe.json"} <= left


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / str(MEETING)).write_text("no folder")
    with pytest.raises(FileExistsError):
        open_job_folder(tmp_path, MEETING, 1)


def test_who_opens_a_finished_folder_begins_again(tmp_path: Path) -> None:
    open_job_folder(tmp_path, MEETING, 1).keep_stages()
    folder = open_job_folder(tmp_path, MEETING, 2)
    assert folder.finished_at is None
    folder.close()


def test_a_folder_that_cannot_be_tidied_is_removed_altogether(tmp_path: Path) -> None:
    folder = open_job_folder(tmp_path, MEETING, 1)
    (folder.path / "source").mkdir()  # which unlink refuses
    folder.keep_stages()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_no_later_attempt_opens_is_not_kept(tmp_path: Path) -> None:
    first = open_job_folder(tmp_path, MEETING, 1)
    second = open_job_folder(tmp_path, MEETING, 2)
    second.keep_stages()
    assert [path.name for path in tmp_path.iterdir()] == [str(MEETING)]
    first.close()
