"""Print the requirements of every command: without Apache Spark, and without LightFM where there is no C compiler.

LightFM is published as source only. Without it the trainer leaves that candidate out. Spark is 430 MB, and only
TRAINING_ENGINE=spark and its tests need it: `make spark` installs it.
This script runs before anything is installed, so it uses the standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE_ONLY = "rectools-lightfm"
OF_SPARK = ("pyspark", "py4j", "pyarrow")


def main(lock: Path) -> int:
    """Print the requirements of `lock` that can be installed, apart from those of Spark."""
    text = lock.read_text(encoding="utf-8")
    for name in OF_SPARK:
        text = without(text, name)
    if not can_compile():
        told = f"no C compiler with Python's headers: {SOURCE_ONLY} is left out: that candidate is not trained"
        print(told, file=sys.stderr)
        text = without(text, SOURCE_ONLY)
    sys.stdout.write(text)
    return 0


def can_compile() -> bool:
    """Return whether there is a C compiler that finds Python's headers and OpenMP."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return False
    command = [compiler, "-fopenmp", "-fsyntax-only", "-x", "c", f"-I{sysconfig.get_path('include')}", "-"]
    program = "#include <Python.h>\n#include <omp.h>\n"
    return subprocess.run(command, input=program, text=True, capture_output=True, check=False).returncode == 0


def without(text: str, name: str) -> str:
    """Return the lock file's text without the entry of one package, its hashes and comments included."""
    following = r"(?:(?![A-Za-z0-9]).*\n)*"  # lines that begin no entry
    return re.sub(rf"^{re.escape(name)}==.*\n{following}", "", text, flags=re.MULTILINE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
