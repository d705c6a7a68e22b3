"""The pages at /docs: from this gateway alone, under a policy that allows nothing else."""

from __future__ import annotations

import re

import pytest

from tests.asgi_client import AsgiClient

PAGE_FILES = ["/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/start.js", "/docs/favicon-32x32.png"]
OWN = ["/docs", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json"]
ABSOLUTE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//[a-z0-9\[]", re.IGNORECASE)


def test_the_page_names_exactly_its_own_files_by_relative_addresses(client: AsgiClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert sorted(f"/{name}" for name in named) == sorted(PAGE_FILES)
    for path in PAGE_FILES:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["x-content-type-options"]) == (200, "nosniff")
        assert len(answer.content) > 100


@pytest.mark.parametrize("path", OWN)
def test_no_answer_names_another_host(client: AsgiClient, path: str) -> None:
    # An address in a style sheet that begins with data: is no request.
    text = re.sub(r"url\(\"?data:[^)]*\)", "", client.get(path).text)
    assert ABSOLUTE.findall(text) == []


@pytest.mark.parametrize("path", ["/docs", *PAGE_FILES])
def test_the_policy_allows_this_gateway_only_and_nothing_inline(client: AsgiClient, path: str) -> None:
    policy = dict(one.strip().split(" ", 1) for one in client.get(path).headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert not any("unsafe" in value or "http" in value or "*" in value for value in policy.values())
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"


def test_the_page_has_no_inline_script_and_no_inline_style(client: AsgiClient) -> None:
    page = client.get("/docs").text
    assert re.findall(r"<script[^>]*>([^<]+)</script>", page) == []
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)


@pytest.mark.parametrize(
    "path", ["/redoc", "/docs/oauth2-redirect", "/docs/", "/docs/__init__.py", "/docs/..%2Fmain.py", "/docs/%00"]
)
def test_there_is_no_other_page(client: AsgiClient, path: str) -> None:
    assert client.get(path).status_code == 404
