"""What runs in the child processes can be made there from what the supervisor sends."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import fields
from pathlib import Path

import pytest

from tests.support.settings import settings_in
from worker.adapters.child_server import coerce
from worker.app_children import ChildObjects, child_objects

LLM = {"SUMMARY_LLM_URL": "http://127.0.0.1:1/v1", "SUMMARY_LLM_MODEL": "x"}


BOUNDS = {"stall_s", "max_rss_bytes"}


@pytest.mark.parametrize("kind", [field.name for field in fields(ChildObjects) if field.name not in BOUNDS])
@pytest.mark.parametrize("variables", [{}, {"ASR_ENGINE": "whisperx", **LLM}], ids=["plain", "with models"])
def test_a_factory_says_at_run_time_what_it_takes(kind: str, variables: dict[str, str], tmp_path: Path) -> None:
    """A name that is imported for types only would be unknown in the child; and each argument has its parameter."""
    spec = getattr(child_objects(settings_in(tmp_path, **variables)), kind)
    module, _, name = spec.factory.partition(":")
    factory = getattr(importlib.import_module(module), name)
    arguments = coerce(factory.__init__ if inspect.isclass(factory) else factory, spec.kwargs)
    inspect.signature(factory).bind(**arguments)
