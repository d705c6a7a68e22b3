"""Write the secrets of docker compose into its volumes: what .env gives, else what is there, else a new password.

`docker compose up` runs this before everything else. PostgreSQL reads `password`; the services read `env`, a file of
shell assignments, before they start. The signing key has a volume of its own, which only worker and trainer mount.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from pathlib import Path
from urllib.parse import quote

FOLDER = Path("/var/lib/recommender/secrets")
_PASSWORD_BYTES = 24


def main(folder: Path = FOLDER) -> int:
    """Write all files; a generated password stays the same at every later start."""
    database, signing = folder / "database", folder / "signing"
    given, known = os.environ.get("POSTGRES_PASSWORD"), _read(database / "password")
    password = given or known or secrets.token_hex(_PASSWORD_BYTES)
    key = os.environ.get("ARTIFACT_SIGNING_KEY") or password
    url = f"postgresql://recommender:{quote(password, safe='')}@postgres:5432/recommender"
    _write(database / "env", f"DATABASE_URL={shlex.quote(url)}\n")
    _write(signing / "env", f"ARTIFACT_SIGNING_KEY={shlex.quote(key)}\n")
    _write(database / "password", password, mode=0o644)  # for the user of another image, who mounts nothing else
    print("The password of the database is " + ("that of .env." if given else "kept." if known else "new."))
    return 0


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _write(path: Path, content: str, *, mode: int = 0o600) -> None:
    """Replace a file at once: a start that is interrupted leaves the old one or the new one."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(0o600)
    new.write_text(content)
    new.chmod(mode)
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
