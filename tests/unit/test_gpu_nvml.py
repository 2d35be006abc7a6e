"""Which GPU is meant, and that a PC without one is no error. The library is a stand-in with its names and its order."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from worker.adapters.gpu_nvml import gpu_memory_bytes, gpu_processes, read_gpu, read_gpu_state
from worker.adapters.system_info import read_system_info
from worker.models import GpuFacts

UUIDS = ("GPU-aaaa1111-0000-0000-0000-000000000000", "GPU-bbbb2222-0000-0000-0000-000000000000")
MIG, MIG_HANDLE = "MIG-cccc3333-0000-0000-0000-000000000000", 9


def process(pid: int, used_bytes: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=used_bytes)


class NvmlError(Exception):
    """As pynvml.NVMLError."""


class Nvml:
    """A PC with two GPUs; a handle is a number. As pynvml in version 13."""

    NVMLError = NvmlError

    def __init__(self, *, has_driver: bool = True) -> None:
        self.has_driver, self.num_open = has_driver, 0

    def nvmlInit(self) -> None:
        if not self.has_driver:
            raise NvmlError("NVML Shared Library Not Found")
        self.num_open += 1

    def nvmlShutdown(self) -> None:
        self.num_open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(UUIDS)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index >= len(UUIDS):
            raise NvmlError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid == MIG:
            return MIG_HANDLE
        if uuid not in UUIDS:
            raise NvmlError("Not Found")
        return UUIDS.index(uuid)

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"NVIDIA X{handle}"

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return MIG if handle == MIG_HANDLE else UUIDS[handle]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.1"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [process(100, 3 * 2**28), process(101, None)] if handle == 0 else []

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [process(100, 3 * 2**28), process(7, 2**28)] if handle == 0 else []

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:
        if handle == MIG_HANDLE:
            raise NvmlError("Not Supported")
        return 8, 6

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: int) -> int:
        assert handle == MIG_HANDLE
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=2**34, used=2**30 * (handle + 1))


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    found = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", found)
    return found


def test_the_number_counts_in_the_order_of_the_bus(nvml: Nvml) -> None:
    assert read_gpu(1) == GpuFacts(name="NVIDIA X1", uuid=UUIDS[1], driver="570.1", vram_bytes=2**34)
    assert nvml.num_open == 0, "NVML is left again"


@pytest.mark.parametrize(
    ("number", "visible", "uuid"),
    [
        (0, "1", UUIDS[1]),
        (1, "1,0", UUIDS[0]),
        (0, UUIDS[1], UUIDS[1]),
        (1, "GPU-bbbb, GPU-aaaa", UUIDS[0]),
    ],
)
@pytest.mark.usefixtures("nvml")
def test_the_number_counts_through_cuda_visible_devices(number: int, visible: str, uuid: str) -> None:
    found = read_gpu(number, visible=visible)
    assert found is not None
    assert found.uuid == uuid


@pytest.mark.parametrize(
    ("number", "visible"), [(2, None), (1, "0"), (0, ""), (0, "-1"), (0, "GPU-"), (0, "GPU-cccc"), (0, "7")]
)
@pytest.mark.usefixtures("nvml")
def test_a_gpu_that_is_not_there_or_not_clear_is_none(number: int, visible: str | None) -> None:
    assert read_gpu(number, visible=visible) is None


def test_a_pc_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(has_driver=False))
    assert read_gpu(0) is None
    assert gpu_memory_bytes(UUIDS[0]) is None
    assert read_gpu_state(UUIDS[0]) is None
    assert gpu_processes(UUIDS[0]) is None


def test_a_pc_without_the_package_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_gpu(0) is None


def test_the_real_package_never_fails() -> None:
    """On a PC with a GPU or without."""
    found = read_gpu(0)
    assert found is None or found.uuid.startswith("GPU-")
    assert read_gpu(999) is None


@pytest.mark.usefixtures("nvml")
def test_memory_is_asked_by_uuid() -> None:
    assert gpu_memory_bytes(UUIDS[1]) == (2**31, 2**34)
    assert gpu_memory_bytes("GPU-gone") is None


@pytest.mark.usefixtures("nvml")
def test_what_a_process_holds_itself_counts_as_free() -> None:
    """It can be used again. Where NVML does not know the process, nothing is added."""
    found = read_gpu_state(UUIDS[0], pid=100)
    assert found is not None
    state, own_bytes = found
    assert (state.total_bytes, state.free_bytes, own_bytes) == (2**34, 2**34 - 2**30 + 3 * 2**28, 3 * 2**28)
    assert state.compute_capability == (8, 6)
    for unknown in (101, 999, None):
        stranger = read_gpu_state(UUIDS[0], pid=unknown)
        assert stranger is not None
        assert (stranger[0].free_bytes, stranger[1]) == (2**34 - 2**30, None)
    assert read_gpu_state("GPU-gone") is None


@pytest.mark.usefixtures("nvml")
def test_programs_that_compute_and_those_that_draw_are_told_once() -> None:
    assert gpu_processes(UUIDS[0]) == {100: 3 * 2**28, 101: None, 7: 2**28}
    assert gpu_processes(UUIDS[1]) == {}
    assert gpu_processes("GPU-gone") is None


@pytest.mark.usefixtures("nvml")
def test_an_instance_of_a_shared_gpu_is_a_gpu() -> None:
    """MIG: its generation is only told of the whole."""
    found = read_gpu(0, visible=MIG)
    assert found is not None
    assert found.uuid == MIG
    state = read_gpu_state(MIG)
    assert state is not None
    assert state[0].compute_capability == (8, 6)


@pytest.mark.usefixtures("nvml")
def test_the_fleet_learns_which_gpu_and_which_driver() -> None:
    system = read_system_info(read_gpu(0))
    assert (system.gpu, system.gpu_uuid, system.driver, system.vram_bytes) == ("NVIDIA X0", UUIDS[0], "570.1", 2**34)
    assert (read_system_info().gpu, read_system_info().driver) == (None, None)
