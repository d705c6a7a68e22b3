"""The pages for people at /docs: Swagger UI from the package `fastapi-swagger`, served by the gateway itself.

Nothing is loaded from another host and no script is inline, so that the policy of the page can forbid both.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from api.errors import not_found

PATHS = frozenset({"/docs", "/openapi.json"})
FOLDER = "/docs/"
# RequestBoundary adds them to every answer of these paths.
PAGE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)
# The addresses are relative, for a proxy that serves the gateway below a path of its own.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>FAR-Trans recommender</title>
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """\
"use strict";
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""
_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
_FILES = {
    **{name: ((files("fastapi_swagger") / "resources" / name).read_bytes(), kind) for name, kind in _TYPES.items()},
    "start.js": (_START.encode(), "text/javascript"),
}

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def show_docs() -> Response:
    """Show the description of the API."""
    return Response(_PAGE, media_type="text/html")


@router.get("/docs/{name}")
async def read_docs_file(name: str) -> Response:
    """Return a file of the page."""
    if name not in _FILES:
        raise not_found("There is no such file.")
    content, media_type = _FILES[name]
    return Response(content, media_type=media_type)


def is_docs_path(path: str) -> bool:
    """Return whether the path is one of the description, which /v1 does not have."""
    return path in PATHS or path.startswith(FOLDER)
