"""Small volumes that can be filled to the last byte: tmpfs mounts, where this user may mount."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

_FILLING = "ballast"


class SmallVolume:
    """A tmpfs of a few megabytes at `folder`; without the right to mount, `why_not` says so and the folder is plain."""

    def __init__(self, folder: Path, *, megabytes: int, owner: tuple[int, int] | None = None) -> None:
        self.folder = folder
        self.why_not: str | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._is_mounted = False
        if os.geteuid() != 0:
            self.why_not = "only root may mount a small tmpfs"
            return
        answer = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "chaos", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode != 0:
            self.why_not = f"a small tmpfs cannot be mounted: {answer.stderr.strip()}"
            return
        self._is_mounted = True
        if owner is not None:
            os.chown(folder, *owner)

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.folder / _FILLING).open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        """Give the space back; safe to repeat."""
        (self.folder / _FILLING).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Safe to repeat; everything in the volume is gone."""
        for _ in range(20):
            if not self._is_mounted:
                return
            answer = subprocess.run(["umount", str(self.folder)], capture_output=True, check=False)
            self._is_mounted = answer.returncode != 0
            if self._is_mounted:
                time.sleep(0.25)
