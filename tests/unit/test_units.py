"""The unit files: systemd understands them, they are as closed as they can be, and each opening has its reason."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from worker.app_children import child_environment
from worker.cli_shared import EXIT_CONFIG
from worker.config import VARIABLES, Settings

UNITS = Path(__file__).parents[2] / "systemd"
UNIT = UNITS / "pc-worker@.service"
MOST_EXPOSED = 25
"""Tenths of the exposure level. The unit is at 18, a bare one at 96 (systemd-analyze 252)."""

NO_SETTINGS = {"HOME", "PYTHONPATH"}
"""What the unit sets besides settings and the switches that turn telemetry off."""


def lines() -> list[str]:
    return UNIT.read_text().splitlines()


def values(key: str) -> list[str]:
    return [line.split("=", 1)[1] for line in lines() if line.startswith(f"{key}=")]


def environment() -> dict[str, str]:
    return dict(value.split("=", 1) for value in values("Environment"))


def section_of(key: str) -> set[str]:
    """In which sections a line begins with it."""
    parts = re.split(r"^\[(\w+)\]$", UNIT.read_text(), flags=re.MULTILINE)[1:]
    return {name for name, body in zip(parts[::2], parts[1::2], strict=True) if f"\n{key}" in body}


def analyzed(command: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """
    systemd-analyze on copies in `folder`, where the program of ExecStart is one that exists.

    Skipped without systemd even in CI: a plain container has none, and nothing there can take its place.
    """
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not on this machine: install systemd to check the units")
    shutil.copy(UNITS / "pc-worker.target", folder)
    (folder / UNIT.name).write_text(
        re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text(), flags=re.M)
    )
    return subprocess.run(
        [program, command, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", ["pc-worker@.service", "pc-worker@gpu0.service", "pc-worker.target"])
def test_systemd_understands_every_line(tmp_path: Path, name: str) -> None:
    found = analyzed("verify", f"./{name}", folder=tmp_path)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_systemd_finds_what_is_wrong(tmp_path: Path) -> None:
    """So that the check above means something."""
    (tmp_path / "wrong.service").write_text("[Service]\nType=notify\nWatchdogSeconds=1\n")
    assert "WatchdogSeconds" in analyzed("verify", "./wrong.service", folder=tmp_path).stderr


def test_the_service_with_its_gpu_is_hardly_exposed(tmp_path: Path) -> None:
    found = analyzed(
        "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", f"./{UNIT.name}", folder=tmp_path
    )
    assert found.returncode == 0, found.stdout[-400:]


def test_what_is_relaxed_stands_apart_and_each_line_has_its_reason() -> None:
    relaxed = UNIT.read_text().split("# RELAXED\n", 1)[1].split("\n\n", 1)[0].splitlines()
    keys = [line.split("=")[0] for line in relaxed if not line.startswith("#")]
    assert keys == ["PrivateDevices", "DeviceAllow", "MemoryDenyWriteExecute", "ProcSubset", "PrivateNetwork",
                    "RestrictAddressFamilies", "RemoveIPC", "PrivateUsers"]  # fmt: skip
    for before, line in pairwise(relaxed):
        assert line.startswith("#") or before.startswith("# "), f"{line}: which feature needs it?"


def test_nothing_is_relaxed_elsewhere() -> None:
    closed = UNIT.read_text().split("# RELAXED\n", 1)[0]
    assert (
        re.findall(r"^(?:Private|Protect|Restrict|NoNew|Lock|MemoryDeny)\w+=(?:no|false)$", closed, re.MULTILINE) == []
    )


def test_what_the_unit_sets_is_a_setting_or_turns_telemetry_off() -> None:
    quiet = {name: value for name, value in child_environment(Settings(), {}).items() if name not in VARIABLES}
    for name, value in environment().items():
        assert name in VARIABLES or name in NO_SETTINGS or quiet[name] == value, name
    telemetry = {"PYANNOTE_METRICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "OTEL_SDK_DISABLED"}
    assert telemetry <= environment().keys()


def test_each_worker_has_its_own_name_and_folders_and_shares_the_models() -> None:
    assert environment()["WORKER_ID"] == "%H-%i"
    own, shared = ("AUDIO_TEMP_DIR", "LOG_DIR", "HOME"), ("MODEL_CACHE_DIR", "STORAGE_DIR")
    assert all("%i" in environment()[name] for name in own)
    assert not any("%i" in environment()[name] for name in shared)
    assert values("WorkingDirectory") == ["%S/pc-worker/%i"]


def test_every_folder_that_is_named_may_be_written() -> None:
    """ProtectSystem=strict leaves only these."""
    writable = [
        f"{root}/{folder}"
        for root, key in (("%S", "StateDirectory"), ("%C", "CacheDirectory"), ("%L", "LogsDirectory"))
        for folder in values(key)[0].split()
    ]
    for name, path in environment().items():
        if path.startswith("%") and name != "WORKER_ID":
            assert any(path == folder or path.startswith(f"{folder}/") for folder in writable), name


def test_the_file_of_one_worker_wins_over_the_file_of_all_and_may_be_missing() -> None:
    assert values("EnvironmentFile") == ["/etc/pc-worker/common.env", "-/etc/pc-worker/%i.env"]


def test_it_is_restarted_for_ever_but_for_wrong_settings() -> None:
    assert values("Restart") == ["always"]
    assert values("RestartPreventExitStatus") == [str(EXIT_CONFIG)]
    assert section_of("StartLimit") == {"Unit"}
    assert values("StartLimitIntervalSec") == ["0"]


def test_stopping_reaches_the_supervisor_alone() -> None:
    assert values("KillMode") == ["mixed"]
    assert values("NotifyAccess") == ["main"]
    assert values("ExecStart")[0].endswith("/python -P -m worker run")


def test_all_workers_of_a_pc_stop_and_start_with_the_target() -> None:
    assert values("PartOf") == ["pc-worker.target"]
    assert values("WantedBy") == ["pc-worker.target"]
    assert "WantedBy=multi-user.target" in (UNITS / "pc-worker.target").read_text()


def test_the_polkit_rule_is_for_the_user_of_the_unit_and_the_lock_of_the_worker() -> None:
    rule = (UNITS / "pc-worker.rules").read_text()
    assert f'subject.user == "{values("User")[0]}"' in rule
    assert '"org.freedesktop.login1.inhibit-block-sleep"' in rule
