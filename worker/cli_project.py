"""Commands for administrators: the project, its fleet, and what is wrong with this PC."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from worker.cli_shared import EXIT_FAILED, AsJson, console, print_json, run_async, with_store
from worker.exceptions import ConfigurationError


def status(as_json: AsJson = False) -> None:
    """Show the queue, the workers, and what each is doing."""
    from worker import views

    state = with_store(lambda _, store: store.status(), with_any_key=True)
    if as_json:
        print_json(state.model_dump(mode="json"))
    else:
        console().print(views.fleet(state))


def doctor(as_json: AsJson = False) -> None:
    """Look for what keeps this PC's worker from working; changes nothing. Exit code 1 if something does."""
    from worker import app_doctor, views
    from worker.app_doctor_check import State

    checks = run_async(app_doctor.examine())
    is_fit = all(check.state is not State.FAILED for check in checks)
    if as_json:
        print_json({"ok": is_fit, "checks": [check._asdict() for check in checks]})
    else:
        console().print(views.checks(checks))
    if not is_fit:
        raise typer.Exit(EXIT_FAILED)


def migrate(
    print_sql: Annotated[
        bool, typer.Option("--print", help="Print the SQL, for the SQL editor of a new project, instead of running it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Try it, say what would be done, and undo it.")] = False,
) -> None:
    """
    Bring the database up to date. Tables of our names that are there are adopted: their rows and columns stay.

    Of a Supabase project it takes the address of the session pooler (dashboard: Connect, Session pooler; port 5432) as
    SUPABASE_DB_URL, from the environment or .env.admin. The direct address will do where there is IPv6, the
    transaction pooler (port 6543) will not.
    """
    from worker import app_database
    from worker.config import Need, load_settings

    if print_sql:
        typer.echo(app_database.migration_script())
        return
    done = run_async(app_database.migrate(load_settings([Need.MIGRATION]), dry_run=dry_run))
    would = "would be " if dry_run else ""
    for name in done.applied:
        typer.echo(f"{would}applied {name}", err=True)
    for table in done.adopted:
        typer.echo(f"{would}adopted {table}", err=True)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    undone = "Nothing was changed: this was a dry run." if done.applied else "The database is up to date."
    typer.echo(undone if dry_run else "The database is up to date.", err=True)


def token(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it lasts.")] = 365,
    signing_key: Annotated[
        Path | None, typer.Option(help="Private key (JWK) that was imported into the project, instead of its secret.")
    ] = None,
) -> None:
    """Mint the worker token with which a PC needs no master key: for an administrator; prints nothing but the token."""
    from worker import app_tokens

    if signing_key is not None:
        minted = app_tokens.token_by_signing_key(signing_key, days=days)
    else:
        minted = app_tokens.token_by_secret(_jwt_secret(), days=days)
    signed_by = f"key {minted.key_id}" if minted.key_id else "the legacy secret"
    console(stderr=True).print(
        f"Role {minted.role}, expires on {minted.expires_on}, signed by {signed_by} ({minted.algorithm}). "
        "Put it into the PC's .env as SUPABASE_WORKER_TOKEN, and the project's publishable key as SUPABASE_KEY."
    )
    typer.echo(minted.text)


def _jwt_secret() -> str:
    """From the settings; else asked for, and not shown."""
    from worker.config import load_settings

    secret = load_settings().supabase_jwt_secret
    if secret is not None:
        return secret.get_secret_value()
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "SUPABASE_JWT_SECRET: not set. Put the project's legacy JWT secret into .env.admin, or give --signing-key."
        )
    return str(typer.prompt("The project's legacy JWT secret (not shown)", hide_input=True, err=True)).strip()
