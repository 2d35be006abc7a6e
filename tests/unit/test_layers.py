"""
The house has four layers and one direction; here the rule is a table, and every import is held against it.

    cli -> app -> core -> ports -> models -> exceptions
            |               ^
            +-> adapters, engine, summarize, observe

Imports inside functions and under TYPE_CHECKING count as well. A new module at the top of `worker` is core unless the
table says otherwise; a new third-party package needs an entry: say where it lives.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import worker

ROOT = Path(worker.__file__).parent
TESTS = Path(__file__).parent.parent
MAX_LINES = 400

ROOMS = ("adapters", "engine", "summarize", "observe", "testing")
SAME_NAME = ("models", "exceptions", "ports", "events", "config", "app", *ROOMS)
COMMANDS = (
    "cli",
    "cli_fleet",
    "cli_health",
    "cli_meetings",
    "cli_models",
    "cli_project",
    "cli_shared",
    "cli_speakers",
    "cli_summaries",
    "cli_vocabulary",
    "__main__",
    "demo",
)
FACES = (*COMMANDS, "progress", "terminal", "views", "views_health", "views_models", "views_people")
VALUES = ("scores", "audio_paths", "disk_errors", "supabase_keys")
LAYERS = {
    **{name: name for name in SAME_NAME},
    **dict.fromkeys(FACES, "cli"),
    **dict.fromkeys(VALUES, "models"),
    "ledger_port": "ports",
}
"""The layer of each top-level name of `worker`; all others are core. What people see is one layer, and may print."""

CONTRACTS = {"models", "exceptions", "ports"}
MAY_IMPORT = {
    "exceptions": set[str](),
    "models": {"exceptions"},
    "ports": {"models", "exceptions"},
    "events": {"models", "exceptions"},
    "config": {"models", "exceptions"},
    "core": CONTRACTS | {"events"},
    "adapters": CONTRACTS,
    "engine": CONTRACTS,
    "summarize": CONTRACTS,
    "observe": CONTRACTS | {"events"},
    "testing": CONTRACTS | {"events"},
    "app": CONTRACTS | {"events", "config", "core", "adapters", "engine", "summarize", "observe"},
    "cli": CONTRACTS | {"events", "config", "app", "observe"},
}
"""A layer may always import itself, and `worker` for its version."""

THIRD_PARTY = {
    "pydantic": set(MAY_IMPORT),
    "pydantic_core": set(MAY_IMPORT),
    "dotenv": {"config"},
    "jwt": {"app"},
    "typer": {"cli"},
    "rich": {"cli", "observe"},
    "psycopg": {"adapters"},
    "tenacity": {"adapters"},
    **{name: {"adapters"} for name in ("supabase", "supabase_auth", "postgrest")},
    "httpx": {"adapters", "summarize"},
    "openai": {"summarize"},
    **{name: {"adapters"} for name in ("storage3", "yarl")},
    "aiohttp": {"adapters", "observe"},
    "prometheus_client": {"observe"},
    "pynvml": {"adapters"},
    "huggingface_hub": {"adapters", "engine"},
    "av": {"adapters"},
    "soxr": {"adapters"},
    "soundfile": {"adapters", "engine"},
    "numpy": {"adapters", "engine", "summarize"},
    **{name: {"engine"} for name in ("torch", "torchaudio", "whisperx", "pyannote", "faster_whisper", "ctranslate2")},
    **{name: {"engine"} for name in ("transformers", "pocketsphinx", "scipy", "jiwer")},
}
"""In which layers a package may be named."""

ENVIRONMENT_READERS = {"worker.config", "worker.app_children", "worker.app_systemd", "worker.demo"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {name_of(path): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
MODULES = frozenset(SOURCES)


def layer_of(module: str) -> str:
    if module == "worker":
        return "worker"
    top = module.split(".")[1]
    return "app" if top.startswith("app_") else LAYERS.get(top, "core")


def imports_of(module: str, source: str, modules: frozenset[str] = MODULES) -> Iterator[str]:
    """Full names of everything a module imports, wherever the import stands; of ours exactly the modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                is_package = any(name.startswith(module + ".") for name in modules)
                here = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*here, base] if base else here)
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base


def violations(module: str, source: str, modules: frozenset[str] = MODULES) -> list[str]:
    """Sentences about imports that the tables do not allow."""
    layer, found = layer_of(module), []
    for name in imports_of(module, source, modules):
        top = name.split(".")[0]
        if top == "worker":
            target = layer_of(name)
            if layer != "worker" and target not in {"worker", layer} and target not in MAY_IMPORT[layer]:
                found.append(f"{module} ({layer}) must not import {name} ({target})")
        elif top not in sys.stdlib_module_names:
            if top not in THIRD_PARTY:
                found.append(f"{module} imports {top}: say in THIRD_PARTY in which layer it lives")
            elif layer not in THIRD_PARTY[top]:
                found.append(f"{module} ({layer}) must not import {top}")
    return found


def test_every_module_imports_only_what_its_layer_may() -> None:
    assert [line for module, source in SOURCES.items() for line in violations(module, source)] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {name for name in imports_of(module, source) if name in MODULES and name != module}
        for module, source in SOURCES.items()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_only_the_command_line_prints() -> None:
    printing = {
        module
        for module, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert {module for module in printing if layer_of(module) != "cli"} == set()


def test_only_settings_and_composition_read_the_environment() -> None:
    """os.environ, os.getenv, or the names imported from os."""
    reading = {
        module
        for module, source in SOURCES.items()
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"})
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {a.name for a in node.names} & {"environ", "getenv"}
        )
    }
    assert reading - ENVIRONMENT_READERS == set()


def test_no_module_is_too_long_to_read_at_once() -> None:
    paths = [*ROOT.rglob("*.py"), *TESTS.rglob("*.py")]
    lengths = {str(path.relative_to(ROOT.parent)): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "common", "manager", "base", "misc"])
def test_no_module_is_a_drawer_for_odds_and_ends(name: str) -> None:
    assert [module for module in MODULES if module.rsplit(".", 1)[-1] == name] == []


@pytest.mark.parametrize(
    ("module", "source", "sentence"),
    [
        ("worker.turns", "def f():\n    import torch", "worker.turns (core) must not import torch"),
        (
            "worker.turns",
            "from worker.adapters import x",
            "worker.turns (core) must not import worker.adapters.x (adapters)",
        ),
        (
            "worker.adapters.x",
            "from worker import config",
            "worker.adapters.x (adapters) must not import worker.config (config)",
        ),
        (
            "worker.adapters.x",
            "from ..engine import y",
            "worker.adapters.x (adapters) must not import worker.engine (engine)",
        ),
        ("worker.engine.x", "from .. import daemon", "worker.engine.x (engine) must not import worker.daemon (core)"),
        ("worker.models", "import worker.ports", "worker.models (models) must not import worker.ports (ports)"),
        ("worker.cli", "from worker.daemon import PCWorker", "worker.cli (cli) must not import worker.daemon (core)"),
        ("worker.app", "if TYPE_CHECKING:\n    import worker.cli", "worker.app (app) must not import worker.cli (cli)"),
        ("worker.new", "import leftpad", "worker.new imports leftpad: say in THIRD_PARTY in which layer it lives"),
    ],
)
def test_the_rule_catches_what_it_is_for(module: str, source: str, sentence: str) -> None:
    """So that a mistake in this file cannot make every module look innocent."""
    known = frozenset(
        {"worker", "worker.config", "worker.daemon", "worker.adapters", "worker.adapters.x", "worker.engine"}
    )
    assert violations(module, source, known) == [sentence]
