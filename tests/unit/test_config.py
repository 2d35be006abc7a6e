"""Settings: every problem at once, each with its remedy; no secret is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project_keys import PUBLISHABLE_KEY, SECRET_KEY, WORKER_ROLE, token
from worker.config import ADMIN_VARIABLES, VARIABLES, Need, Settings, load_settings
from worker.exceptions import ConfigurationError

USERS_NAMES = [
    "SUPABASE_URL",
    "SUPABASE_KEY",
    "WORKER_ID",
    "WORKER_NAME",
    "LOG_LEVEL",
    "ENABLE_GPU",
    "CUDA_DEVICE",
    "AUDIO_TEMP_DIR",
    "MODEL_CACHE_DIR",
    "MAX_CONCURRENT_JOBS",
    "POLLING_INTERVAL_SECONDS",
]


def problems_of(*needs: Need, env_file: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(needs, environ=environ, env_file=env_file)
    problems: list[str] = caught.value.details["problems"]
    assert all(problem in str(caught.value) for problem in problems)
    return problems


def test_the_names_the_user_gave_are_kept() -> None:
    assert set(USERS_NAMES) <= set(VARIABLES)


def test_defaults_are_the_documented_ones() -> None:
    settings = load_settings(environ={}, env_file=None)
    assert settings.audio_temp_dir == Path("temp_audio")
    assert (settings.max_concurrent_jobs, settings.polling_interval_seconds) == (2, 5.0)
    assert settings.asr_engine == "whisperx", "the offline engine is never chosen silently"


def test_every_problem_is_reported_at_once() -> None:
    problems = problems_of(
        Need.WORKER,
        Need.DATABASE,
        SUPABASE_URL="http://example.org",
        MAX_CONCURRENT_JOBS="many",
        POLLING_INTERVAL_SECONDS="-1",
        LOG_LEVEL="LOUD",
    )
    named = {problem.split(":")[0] for problem in problems}
    assert named == {
        "SUPABASE_URL",
        "MAX_CONCURRENT_JOBS",
        "POLLING_INTERVAL_SECONDS",
        "LOG_LEVEL",
        "WORKER_ID",
        "SUPABASE_KEY",
    }


def test_each_problem_ends_with_a_next_action() -> None:
    problems = problems_of(Need.WORKER, Need.DATABASE, CUDA_DEVICE="first")
    assert len(problems) == 3
    assert all(problem.endswith(".") and len(problem.split(". ")) >= 2 for problem in problems)


@pytest.mark.parametrize(
    "url", ["https://x.supabase.co", "http://localhost:54321", "http://127.0.0.1:1", "http://[::1]:1"]
)
def test_https_or_this_machine_is_accepted(url: str) -> None:
    assert load_settings(environ={"SUPABASE_URL": url, "SUPABASE_KEY": "k"}, env_file=None).supabase_url == url


@pytest.mark.parametrize(
    "url", ["http://x.supabase.co", "http://localhost.evil.org", "ftp://x", "x.supabase.co", "https://"]
)
def test_anything_else_is_refused(url: str) -> None:
    assert "https://" in problems_of(SUPABASE_URL=url, SUPABASE_KEY="k")[0]


def test_which_database_is_never_a_guess() -> None:
    (nothing,) = problems_of(Need.DATABASE)
    assert "SUPABASE_URL and SUPABASE_KEY, or DATABASE_URL" in nothing
    (both,) = problems_of(SUPABASE_URL="https://a.b", SUPABASE_KEY="k", DATABASE_URL="embedded")
    assert "both are set" in both
    (odd,) = problems_of(DATABASE_URL="mysql://x")
    assert "postgresql://" in odd


def test_a_worker_id_is_a_plain_name() -> None:
    assert "letters, digits" in problems_of(WORKER_ID="lab pc/1")[0]


def test_an_empty_value_counts_as_not_set() -> None:
    assert load_settings(environ={"SUPABASE_URL": "", "MAX_CONCURRENT_JOBS": " "}, env_file=None).supabase_url is None


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("WORKER_ID=from-file\nWORKER_NAME='Lab PC'\n")
    settings = load_settings(environ={"WORKER_ID": "from-environment"}, env_file=file)
    assert (settings.worker_id, settings.worker_name) == ("from-environment", "Lab PC")


def test_a_misspelt_name_in_the_file_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("POLLING_INTERVAL_SECOND=3\nSOMEBODY_ELSES=1\n")
    assert problems_of(env_file=file) == [
        "POLLING_INTERVAL_SECOND: not a setting. Did you mean POLLING_INTERVAL_SECONDS?"
    ]


def test_secrets_are_never_shown() -> None:
    secret = "hunter2-hunter2"
    settings = load_settings(
        environ={"DATABASE_URL": f"postgresql://me:{secret}@db/x", "HF_TOKEN": secret}, env_file=None
    )
    assert secret not in repr(settings) + str(settings) + str(settings.model_dump())
    assert secret in settings.secrets()


def test_a_wrong_secret_is_not_repeated_in_the_complaint() -> None:
    assert "hunter2" not in "".join(problems_of(DATABASE_URL="mysql://me:hunter2@x"))


def test_directories_are_created(tmp_path: Path) -> None:
    load_settings(
        [Need.DATABASE, Need.WORKER],
        environ={
            "WORKER_ID": "a",
            "DATABASE_URL": "embedded",
            "STORAGE_DIR": str(tmp_path / "s"),
            "AUDIO_TEMP_DIR": str(tmp_path / "a" / "b"),
            "MODEL_CACHE_DIR": str(tmp_path / "m"),
            "LOG_DIR": str(tmp_path / "l"),
        },
        env_file=None,
    )
    assert all((tmp_path / name).is_dir() for name in ("s", "a/b", "m", "l"))


def test_a_directory_that_cannot_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    problems = problems_of(
        Need.WORKER,
        WORKER_ID="a",
        AUDIO_TEMP_DIR=str(tmp_path / "file" / "below"),
        MODEL_CACHE_DIR=str(tmp_path / "m"),
        LOG_DIR=str(tmp_path / "l"),
    )
    assert [problem.split(":")[0] for problem in problems] == ["AUDIO_TEMP_DIR"]


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_looking_at_settings_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    load_settings([Need.DATABASE], environ={"SUPABASE_URL": "https://a.b", "SUPABASE_KEY": SECRET_KEY})
    load_settings(
        [Need.DATABASE, Need.WORKER], environ={"DATABASE_URL": "embedded", "WORKER_ID": "a"}, make_directories=False
    )
    assert not list(tmp_path.iterdir())


# --- the keys of a Supabase project ------------------------------------------------------------------------------

PROJECT = {"SUPABASE_URL": "https://a.b", "WORKER_ID": "a"}


def test_a_worker_does_not_start_with_a_key_that_cannot_run_it(tmp_path: Path) -> None:
    folders = {name: str(tmp_path) for name in ("AUDIO_TEMP_DIR", "MODEL_CACHE_DIR", "LOG_DIR")}
    load_settings([Need.WORKER], environ={**PROJECT, **folders, "SUPABASE_KEY": SECRET_KEY}, env_file=None)
    (problem,) = problems_of(Need.WORKER, env_file=None, **PROJECT, **folders, SUPABASE_KEY=PUBLISHABLE_KEY)
    assert "may not run a worker alone" in problem


def test_what_reads_the_state_runs_with_a_worker_token_but_what_people_do_does_not() -> None:
    keys = {**PROJECT, "SUPABASE_KEY": PUBLISHABLE_KEY, "SUPABASE_WORKER_TOKEN": token(WORKER_ROLE)}
    load_settings([Need.DATABASE], environ=keys, env_file=None)
    (problem,) = problems_of(Need.PEOPLE, env_file=None, **keys)
    assert "This PC may only run the worker." in problem
    load_settings([Need.PEOPLE], environ={**keys, "SUPABASE_ADMIN_KEY": SECRET_KEY}, env_file=None)


def test_an_administrators_pc_needs_no_other_key() -> None:
    admin = {"SUPABASE_URL": "https://a.b", "SUPABASE_ADMIN_KEY": SECRET_KEY}
    settings = load_settings([Need.PEOPLE], environ=admin, env_file=None)
    assert settings.supabase_admin_key is not None
    load_settings([Need.DATABASE], environ=admin, env_file=None)


def test_the_schema_is_changed_by_the_databases_owner() -> None:
    (problem,) = problems_of(Need.MIGRATION, SUPABASE_URL="https://a.b", SUPABASE_KEY=SECRET_KEY)
    assert "SUPABASE_DB_URL: not set" in problem
    for name in ("SUPABASE_DB_URL", "DATABASE_URL"):
        load_settings([Need.MIGRATION], environ={name: "postgresql://postgres:x@db/postgres"}, env_file=None)


def test_an_administrators_secrets_have_a_file_of_their_own(tmp_path: Path) -> None:
    admin = tmp_path / ".env.admin"
    admin.write_text(f"SUPABASE_ADMIN_KEY={SECRET_KEY}\nSUPABASE_JWT_SECRET='a ${{b}} c'\n")
    admin.chmod(0o600)
    settings = load_settings(environ={}, env_file=tmp_path / ".env")
    assert settings.supabase_admin_key is not None
    assert settings.supabase_jwt_secret is not None
    assert settings.supabase_jwt_secret.get_secret_value() == "a ${b} c"


def test_a_worker_never_learns_an_administrators_secrets(tmp_path: Path) -> None:
    """Neither from the file nor from its environment."""
    (tmp_path / ".env.admin").write_text(f"SUPABASE_ADMIN_KEY={SECRET_KEY}\n")
    settings = load_settings(
        [Need.WORKER],
        environ={"WORKER_ID": "a", "SUPABASE_JWT_SECRET": "s" * 32, "SUPABASE_DB_URL": "postgresql://a:b@c/d"},
        env_file=tmp_path / ".env",
        make_directories=False,
    )
    assert all(getattr(settings, VARIABLES[name]) is None for name in ADMIN_VARIABLES)


@pytest.mark.parametrize("name", sorted(ADMIN_VARIABLES))
@pytest.mark.parametrize("needs", [[Need.WORKER], [Need.PEOPLE], []])
def test_an_administrators_secret_in_env_is_a_problem(tmp_path: Path, name: str, needs: list[Need]) -> None:
    (tmp_path / ".env").write_text(f"{name}=postgresql://a:b@c/d\nDATABASE_URL=embedded\nWORKER_ID=a\n")
    with pytest.raises(ConfigurationError, match=f"{name}: must not stand in .env.*Move it to .env.admin."):
        load_settings(needs, environ={}, env_file=tmp_path / ".env", make_directories=False)


def test_an_administrators_file_that_others_may_read_is_a_problem(tmp_path: Path) -> None:
    admin = tmp_path / ".env.admin"
    admin.write_text(f"SUPABASE_ADMIN_KEY={SECRET_KEY}\n")
    admin.chmod(0o640)
    assert problems_of(env_file=tmp_path / ".env") == [
        ".env.admin: other users of this PC may read it. Run `chmod 600 .env.admin`."
    ]


def test_a_setting_that_is_no_administrators_is_not_read_from_there(tmp_path: Path) -> None:
    admin = tmp_path / ".env.admin"
    admin.write_text("SUPABASE_KEY=x\nSUPABASE_ADMIN_KAY=x\n")
    admin.chmod(0o600)
    assert problems_of(env_file=tmp_path / ".env") == [
        "SUPABASE_ADMIN_KAY: not a setting. Did you mean SUPABASE_ADMIN_KEY?",
        "SUPABASE_KEY: is not read from .env.admin. Move it to .env.",
    ]


def test_a_file_that_is_no_text_is_a_sentence_not_a_trace(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("WORKER_NAME=Büro".encode("latin-1"))
    assert problems_of(env_file=tmp_path / ".env") == [".env: it is not UTF-8 text. Save it as UTF-8."]


def test_every_secret_is_known_to_the_log() -> None:
    """Passwords too, as they are written in an address and as the server gets them."""
    settings = load_settings(
        environ={
            "SUPABASE_KEY": "key-1",
            "SUPABASE_WORKER_TOKEN": "token-2",
            "SUPABASE_ADMIN_KEY": "admin-3",
            "SUPABASE_JWT_SECRET": "secret-4",
            "SUPABASE_DB_URL": "postgresql://postgres.ref:p%40ss[5@pooler.supabase.com:5432/postgres",
            "DATABASE_URL": "postgresql:///x?password=word-6&host=/tmp",
        },
        env_file=None,
    )
    wanted = {"key-1", "token-2", "admin-3", "secret-4", "p%40ss[5", "p@ss[5", "word-6"}
    assert wanted <= set(settings.secrets())
    assert not [secret for secret in wanted if secret in repr(settings) + str(settings.model_dump())]


def test_a_copied_address_still_without_its_password_is_noticed() -> None:
    (problem,) = problems_of(SUPABASE_DB_URL="postgresql://postgres:[YOUR-PASSWORD]@db.x.supabase.co:5432/postgres")
    assert "[YOUR-PASSWORD]" in problem
    assert problem.endswith("Correct it in .env.admin.")


@pytest.mark.parametrize(
    ("name", "value", "missing"),
    [
        ("SUMMARY_LLM_URL", "http://gpu-box:11434/v1", "SUMMARY_LLM_MODEL"),
        ("SUMMARY_LLM_MODEL", "llama", "SUMMARY_LLM_URL"),
    ],
)
def test_an_endpoint_and_its_model_are_named_together(name: str, value: str, missing: str) -> None:
    (problem,) = problems_of(env_file=None, **{name: value})
    assert problem.startswith(f"{missing}: not set.")
