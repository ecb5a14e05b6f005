"""`edgeapp web`: users and the audit trail at the terminal of the device. Changes made here stand in the trail, too."""

from __future__ import annotations

import getpass
import sys
import time
from collections import deque
from datetime import UTC, datetime

import click
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from edgeapp.apps.web import open_users, web_folder
from edgeapp.core.events import ConfigError
from edgeapp.web.trail import Trail, change_of, read
from edgeapp.web.users import Role


def set_password(name: str, role: str | None, *, stdin: bool) -> None:
    """Make the user or change the password. Raises ConfigError."""
    users = open_users()
    before = users.all().get(name)
    wanted = Role(role) if role else before.role if before else Role.ENGINEER
    password = (
        sys.stdin.readline().rstrip("\n")
        if stdin
        else click.prompt("password", hide_input=True, confirmation_prompt=True)
    )
    users.set(name, wanted, password)
    _note("users set", f"{name} as {wanted}")
    print(f"{name} may sign in as {wanted}")


def list_users() -> None:
    """Print names and roles."""
    table = Table(box=SIMPLE)
    for column in ("name", "role"):
        table.add_column(column)
    for name, user in sorted(open_users().all().items()):
        table.add_row(name, user.role)
    Console().print(table if table.rows else "nobody: run `edgeapp web passwd NAME`")


def remove_user(name: str) -> None:
    """Take a user away. Raises ConfigError."""
    open_users().remove(name)
    _note("users remove", name)
    print(f"{name} may not sign in any more")


def show_changes(last: int) -> None:
    """Read the whole trail, so that a changed line is found, and print its end. Raises ConfigError."""
    changes = [change_of(body) for body, _ in deque(read(web_folder() / "changes.log"), maxlen=last)]
    for each in changes:
        when = f"{datetime.fromtimestamp(each.utc_ns / 1e9, UTC):%Y-%m-%d %H:%M:%S}"
        print(
            f"{each.seq:>6}  {when}  {each.who} ({each.role or '-'}) from {each.address}: {each.what} {each.of}: {each.outcome}"
        )
    if not changes:
        print("nothing was changed yet")


def _note(what: str, of: str) -> None:
    """The trail says who did it: the one who is logged in to the device."""
    trail = Trail(web_folder() / "changes.log", time.time_ns)
    try:
        trail.add(who=f"{_login()} (terminal)", role="", address="", what=what, of=of)
    finally:
        trail.close()


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise ConfigError(f"the system does not know who you are: {error}") from error
