"""The OpenAPI document describes every address, nothing else, and what it says holds together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from accounts.rest.problems import STATUS

METHODS = {"get", "head", "post", "put", "patch", "delete"}
PUBLIC = {"/auth/register", "/auth/verify", "/auth/refresh", "/auth/link"}
BODY = re.compile(r"<(?:\w+:)?(\w+)>")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    answer = Client().get("/schema/openapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def _addresses(resolver: URLResolver, prefix: str = "/") -> Iterator[tuple[str, set[str]]]:
    """(address, its methods), without the pages of staff."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            if not str(entry.pattern).startswith("admin"):
                yield from _addresses(entry, prefix + str(entry.pattern))
        elif isinstance(entry, URLPattern) and str(entry.pattern).startswith(
            ("appeals/", "media/blobs/", "media/parts/")
        ):
            continue  # a signed address is given, not made; a bucket has its own, an appeal is a page
        elif isinstance(entry, URLPattern):
            view = getattr(entry.callback, "cls", None)
            assert view is not None, f"{entry} is no view of DRF: the document cannot know it"
            methods = {name for name in METHODS if hasattr(view, name)}
            yield BODY.sub(r"{\1}", prefix + str(entry.pattern)), methods


def test_every_address_and_method_is_in_it_and_nothing_else(document: dict[str, Any]) -> None:
    described = {path: METHODS & set(item) for path, item in document["paths"].items()}
    assert described == dict(_addresses(get_resolver()))


def test_it_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate_schema(document)
    Draft202012Validator.check_schema({"$defs": document["components"]["schemas"]})


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS & set(item):
            yield f"{method.upper()} {path}", item[method]


def _follow(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def _contents(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, media type object or parameter) of everything that is sent or answered."""
    for where, operation in _operations(document):
        for each in operation["parameters"]:
            parameter = _follow(document, each)
            if parameter["in"] != "path":
                yield f"{where} {parameter['name']}", parameter
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            yield f"{where} body {media_type}", content
        for status, response in operation["responses"].items():
            for media_type, content in _follow(document, response).get("content", {}).items():
                yield f"{where} {status} {media_type}", content


def test_everything_has_examples_and_they_fit_their_schemas(document: dict[str, Any]) -> None:
    number = 0
    for where, content in _contents(document):
        if " image/" in where or " multipart/" in where or "octet-stream" in where:
            continue  # a file cannot be shown here
        assert content["examples"], where
        schema = {**content["schema"], "components": document["components"]}
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        for example in content["examples"].values():
            errors = [error.message for error in validator.iter_errors(example["value"])]
            assert not errors, (where, errors)
            number += 1
    assert number > 100


def test_operations_are_described(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    names = [operation["operationId"] for _, operation in _operations(document)]
    assert len(names) == len(set(names))
    for where, operation in _operations(document):
        assert operation["summary"], where
        assert operation["description"], where
        assert set(operation["tags"]) <= tags, where
        assert not any(name.startswith("x-refus") for name in operation), where


def test_who_needs_a_token(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for where, operation in _operations(document):
        path = where.split(" ")[1]
        public = (
            path in PUBLIC
            or path.startswith(("/health/", "/schema/"))
            or operation["tags"] == ["not built yet"]
        )
        public = public or where == "GET /auth/link/{link_id}"  # a new device has none
        assert operation["security"] == ([] if public else [{"bearer": []}]), where
        assert ("401" in operation["responses"]) is (
            not public or path in PUBLIC - {"/auth/register", "/auth/link"}
        ), where


def test_every_error_is_a_problem_document(document: dict[str, Any]) -> None:
    for where, operation in _operations(document):
        for status, reference in operation["responses"].items():
            response = _follow(document, reference)
            if status[0] in "23":
                continue
            assert set(response["content"]) == {"application/problem+json"}, (where, status)
            examples = response["content"]["application/problem+json"]["examples"]
            for code, example in examples.items():
                assert example["value"]["code"] == code
                assert example["value"]["status"] == int(status)
                assert status in ("405", "406", "412", "423", "460") or STATUS[code] == int(status), (
                    where,
                    status,
                    code,
                )


def test_headers_are_described(document: dict[str, Any]) -> None:
    wanted = {"401": "WWW-Authenticate", "405": "Allow", "429": "Retry-After", "503": "Retry-After"}
    for where, operation in _operations(document):
        names = {_follow(document, each)["name"] for each in operation["parameters"]}
        assert "X-WhatsApp-Protocol-Version" in names, where
        for status, reference in operation["responses"].items():
            response = _follow(document, reference)
            assert "X-WhatsApp-Protocol-Version" in response["headers"], (where, status)
            if status in wanted:
                assert wanted[status] in response["headers"], (where, status)


def test_posts_with_an_effect_can_be_named(document: dict[str, Any]) -> None:
    """Logging out ends its own session: a repeat cannot have a second effect. A code for a new device holds secrets, of which
    nothing is kept; a repeat makes another. An upload that is complete is complete: a repeat is told so. Who asks for an
    export again within the day gets the same."""
    without = (
        "POST /auth/logout",
        "POST /auth/link",
        "POST /media/presigned/{upload_id}/complete",
        "POST /me/export",
    )
    for where, operation in _operations(document):
        named = any(each.get("name") == "X-Idempotency-Key" for each in operation["parameters"])
        built = operation["tags"] != ["not built yet"]
        assert named is (where.startswith("POST") and built and where not in without), where
