"""The device that torch is told to compute on."""

from __future__ import annotations

from worker.engine.planner import OLDEST_CAPABILITY


def torch_device(enable_gpu: bool, cuda_device: int) -> str:
    """`cuda:N`, or `cpu` where there is no GPU that torch can use: an older chip is found, and fails in use."""
    import torch

    if not enable_gpu or not torch.cuda.is_available():
        return "cpu"
    is_new_enough = torch.cuda.get_device_capability(cuda_device) >= OLDEST_CAPABILITY
    return f"cuda:{cuda_device}" if is_new_enough else "cpu"
