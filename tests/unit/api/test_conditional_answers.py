"""Entity tags, 304 and gzip of answers to GET, and how their request headers are read."""

from __future__ import annotations

import asyncio
import gzip
import string
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.app import create_app
from api.conditional_answers import MIN_COMPRESSED_BYTES, THREAD_BYTES, accepts_gzip, matches
from api.gateway import Gateway
from tests.asgi_client import AsgiClient, StreamedGet
from tests.fakes_gateway import FakePublisher, FakeReader, build_asset
from tests.unit.api.test_recommendations import ITEM, stored_list

REQUEST = {"customer_id": "C1", "action": "request_recs"}
PLAIN = {"Accept-Encoding": "identity"}
GZIP = {"Accept-Encoding": "gzip"}
TAG_TEXTS = st.text(alphabet=string.ascii_letters + string.digits + ",-*/W ".replace(" ", "!"), max_size=8)


@pytest.fixture
def large(publisher: FakePublisher) -> Iterator[AsgiClient]:
    """A gateway whose first page of assets is compressed in a thread."""
    assets = [build_asset(f"ISIN{n:06}", "A" * 40, "Stock", None, "Technology", None, 3.76, 0.16) for n in range(300)]
    with AsgiClient(create_app(Gateway(publisher, FakeReader(customers={"C1"}, assets=assets)))) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/assets", "/models", "/recommendations/C1", "/openapi.json", "/docs", "/docs/swagger-ui.css"]
)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_what_a_client_has_is_304_with_the_same_headers_and_no_body(client: AsgiClient, path: str, coding: str) -> None:
    full = client.get(path, headers={"Accept-Encoding": coding})
    assert full.status_code == 200
    tag = full.headers["etag"]
    assert tag.startswith('"')
    for method in ("GET", "HEAD"):
        again = client.request(method, path, headers={"Accept-Encoding": coding, "If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers.get("vary") == full.headers.get("vary")
        assert not {"content-length", "content-type", "content-encoding"} & set(again.headers)
        assert client.request(method, path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_another_list_and_another_request_for_the_same_items_have_another_tag(
    client: AsgiClient, reader: FakeReader
) -> None:
    tags = []
    for items in ([ITEM], [ITEM], [{**ITEM, "score": 0.9}]):
        reader.lists["C1"] = stored_list(*items)  # each with a request id of its own
        tags.append(client.get("/recommendations/C1").headers["etag"])
        assert client.get("/recommendations/C1").headers["etag"] == tags[-1]
    assert len(set(tags)) == 3


def test_only_a_200_of_a_get_has_a_tag(client: AsgiClient, reader: FakeReader) -> None:
    star = {"If-None-Match": "*"}
    assert client.get("/recommendations/C1", headers=star).status_code == 304
    reader.unavailable = True
    for answer, status in (
        (client.get("/models", headers=star), 503),
        (client.get("/nowhere", headers=star), 404),
        (client.get("/assets?limit=x", headers=star), 422),
        (client.post("/recommendations", json=REQUEST, headers=star), 200),
        (client.post("/models", headers=star), 405),
    ):
        assert (answer.status_code, answer.headers.get("etag")) == (status, None)


def test_a_list_that_is_not_there_yet_is_no_304(client: AsgiClient) -> None:
    answer = client.get("/recommendations/C1?wait=0", headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.headers.get("etag")) == (202, None)


def test_an_answer_is_compressed_where_the_client_takes_it(large: AsgiClient) -> None:
    plain, compressed = large.get("/assets", headers=PLAIN), large.get("/assets", headers=GZIP)
    assert "content-encoding" not in plain.headers
    assert compressed.headers["content-encoding"] == "gzip"
    assert compressed.content == plain.content
    assert int(compressed.headers["content-length"]) < len(plain.content) / 5
    assert plain.headers["vary"] == compressed.headers["vary"] == "Accept-Encoding"
    head = large.request("HEAD", "/assets", headers=GZIP)
    assert (head.headers, head.content) == (compressed.headers, b"")


def test_the_bytes_on_the_wire_are_gzip_and_equal_each_time(large: AsgiClient) -> None:
    async def read(path: str) -> bytes:
        stream = StreamedGet(large.app, path, {"accept-encoding": "gzip"})
        sent = await asyncio.wait_for(stream.chunks.get(), 5)
        await stream.ended()
        return sent

    for path, is_large in (("/assets?limit=300", True), ("/assets?limit=10", False)):
        first, second = large.run(lambda path=path: read(path)), large.run(lambda path=path: read(path))  # type: ignore[misc]
        assert first == second
        plain = large.get(path, headers=PLAIN).content
        assert gzip.decompress(first) == plain
        assert (len(plain) >= THREAD_BYTES) is is_large


def test_one_form_is_never_a_304_for_the_other(large: AsgiClient) -> None:
    tags = {
        coding: large.get("/assets", headers={"Accept-Encoding": coding}).headers["etag"] for coding in ("", "gzip")
    }
    assert tags[""] != tags["gzip"]
    assert large.get("/assets", headers={**GZIP, "If-None-Match": tags[""]}).status_code == 200
    assert large.get("/assets", headers={**PLAIN, "If-None-Match": tags["gzip"]}).status_code == 200
    both = f"{tags['']}, {tags['gzip']}"
    assert large.get("/assets", headers={**GZIP, "If-None-Match": both}).status_code == 304


def test_small_answers_answers_to_post_and_pictures_are_not_compressed(client: AsgiClient, large: AsgiClient) -> None:
    small = client.get("/assets", headers=GZIP)
    assert len(small.content) < MIN_COMPRESSED_BYTES
    for answer in (
        small,
        client.post("/recommendations", json=REQUEST, headers=GZIP),
        client.get("/docs/favicon-32x32.png", headers=GZIP),
    ):
        assert answer.status_code == 200
        assert not {"content-encoding", "vary"} & set(answer.headers)
    assert "content-encoding" not in large.get("/assets", headers={"Accept-Encoding": "gzip;q=0"}).headers


def test_a_long_problem_is_compressed_and_has_no_tag(client: AsgiClient) -> None:
    query = "&".join(f"unknown{n}=1" for n in range(20))
    answer = client.get(f"/assets?{query}", headers=GZIP)
    assert (answer.status_code, answer.headers["content-encoding"], len(answer.json()["errors"])) == (422, "gzip", 20)
    assert "etag" not in answer.headers


def test_a_stream_is_neither_held_back_nor_compressed_nor_tagged(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list(*[ITEM] * 10)

    async def follow() -> StreamedGet:
        stream = StreamedGet(
            client.app, "/recommendations/C1/events", {"accept-encoding": "gzip", "if-none-match": "*"}
        )
        assert len((await stream.event())["data"]) > MIN_COMPRESSED_BYTES
        stream.left.set()
        await stream.ended()
        return stream

    stream = client.run(follow)
    assert stream.status == 200
    assert not {"etag", "content-encoding"} & set(stream.headers)


def test_the_headers_of_a_stream_without_a_list_are_sent_at_once(client: AsgiClient) -> None:
    async def follow() -> int:
        stream = StreamedGet(client.app, "/recommendations/C1/events", {"accept-encoding": "gzip"})
        async with asyncio.timeout(5):
            while not stream.status:
                await asyncio.sleep(0)
        stream.left.set()
        await stream.ended()
        return stream.status

    assert client.run(follow) == 200


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (['"a"'], True),
        (['W/"a"'], True),
        (['"b", "a"'], True),
        (['"b"', '"a"'], True),
        ([' , "b",,\t"a" ,'], True),
        (["*"], True),
        ([" * "], True),
        ([], False),
        ([""], False),
        (['"b"'], False),
        (['"A"'], False),
        (["a"], False),
        (['w/"a"'], False),
        (['W/ "a"'], False),
        (['"a'], False),
        (['"a" "b"'], False),
        (['"a", *'], False),
        (["*", '"a"'], False),
        (['"a", b'], False),
        (['"b, "a"'], False),
        (['"\x00", "a"'], False),
    ],
)
def test_if_none_match_is_a_list_of_tags_or_a_star(values: list[str], named: bool) -> None:
    assert matches('"a"', values) is named


@given(tags=st.lists(st.tuples(TAG_TEXTS, st.booleans()), max_size=5), sought=TAG_TEXTS, gap=st.sampled_from(["", " "]))
def test_a_tag_is_found_among_any_others_weak_or_not(tags: list[tuple[str, bool]], sought: str, gap: str) -> None:
    value = f"{gap},{gap}".join(f'W/"{text}"' if weak else f'"{text}"' for text, weak in tags)
    assert matches(f'"{sought}"', [value]) is (sought in {text for text, _ in tags})


@given(st.lists(st.text(alphabet='"W/*, \tab\x00ÿ', max_size=30), max_size=3))
def test_any_if_none_match_is_read_and_names_only_what_it_spells(values: list[str]) -> None:
    if matches('"ab"', values):
        assert '"ab"' in ",".join(values) or ",".join(values).strip(" \t") == "*"


def test_a_long_malformed_value_is_read_in_no_time() -> None:
    assert not matches('"a"', ['"' + "a" * 60_000])
    assert not matches('"a"', [" \t" * 30_000 + "x"])
    assert not matches('"a"', [",\t " * 20_000 + "x"])


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        (["gzip"], True),
        (["GZIP"], True),
        (["x-gzip"], True),
        (["br, gzip;q=0.5"], True),
        (["br", "gzip"], True),
        (["*"], True),
        (["*;q=0.1"], True),
        (["gzip ; q=1.000"], True),
        (["identity;q=0, gzip;q=0.001"], True),
        ([], False),
        ([""], False),
        (["identity"], False),
        (["gzipped"], False),
        (["gzip;q=0"], False),
        (["gzip;q=0.000"], False),
        (["gzip;q=0, *"], False),
        (["*;q=0"], False),
        (["gzip;q=0, gzip"], False),
        (["identity, gzip;q=0.5"], False),
        (["gzip;q=-1"], False),
        (["gzip;q=1.5"], False),
        (["gzip;q=nan"], False),
        (["gzip;q=inf"], False),
        (["gzip;q="], False),
        (["gzip;level=9"], False),
        (["gzip;q=1;q=0"], False),
    ],
)
def test_accept_encoding_allows_gzip_or_not(values: list[str], accepted: bool) -> None:
    assert accepts_gzip(values) is accepted


@given(st.lists(st.text(alphabet='gzip*;q=01.x-, "identity', max_size=40), max_size=3))
@example(["gzip;q=0", "*;q=1"])
def test_any_accept_encoding_is_read_and_allows_only_what_it_names(values: list[str]) -> None:
    if accepts_gzip(values):
        assert any(coding in ",".join(values).lower() for coding in ("gzip", "*"))


@given(quality=st.integers(0, 1000), other=st.sampled_from(["", "br, ", "identity;q=0, "]))
def test_gzip_is_allowed_by_each_quality_but_zero(quality: int, other: str) -> None:
    assert accepts_gzip([f"{other}gzip;q={quality / 1000:.3f}"]) is (quality > 0)
