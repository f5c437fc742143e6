"""/schema: what describes the interface, for programs; made once a process."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from drf_spectacular.generators import EndpointEnumerator, SchemaGenerator
from rest_framework.request import Request

from accounts.rest.schema import operation
from accounts.rest.views import DocumentView
from whatsapp.wire.asyncapi import document as socket_document

TAG = "documents"


class _Enumerator(EndpointEnumerator):
    """drf-spectacular leaves HEAD out. Where it is an operation of its own, it belongs into the document."""

    def get_allowed_methods(self, callback: Any) -> list[str]:
        methods: list[str] = super().get_allowed_methods(callback)
        return [*methods, "HEAD"] if hasattr(callback.cls, "head") else methods


class _Generator(SchemaGenerator):
    endpoint_inspector_cls = _Enumerator


@cache
def openapi() -> bytes:
    """The OpenAPI document of all addresses. Making it takes long enough to be worth keeping."""
    document = _Generator().get_schema(request=None, public=True)
    return json.dumps(document, ensure_ascii=False).encode()


@cache
def asyncapi() -> bytes:
    """The AsyncAPI document of the socket."""
    return json.dumps(socket_document(), ensure_ascii=False).encode()


@cache
def _proto() -> bytes:
    return (files("whatsapp.wire") / "whatsapp.proto").read_bytes()


def _object(**properties: str) -> dict[str, Any]:
    """Schema of an object that has at least these properties."""
    found = {name: {"type": kind} for name, kind in properties.items()}
    return {"type": "object", "properties": found, "required": list(found)}


class OpenApiView(DocumentView):
    @operation(
        "openapi",
        tag=TAG,
        summary="This document",
        answer=_object(openapi="string", info="object", paths="object"),
        example={"openapi": "3.1.0", "info": {"title": "Messaging backend", "version": "3.2"}, "paths": {}},
    )
    def get(self, request: Request) -> HttpResponse:
        """OpenAPI 3.1 of the REST side."""
        return HttpResponse(openapi(), content_type="application/json")


class AsyncApiView(DocumentView):
    @operation(
        "asyncapi",
        tag=TAG,
        summary="The socket",
        answer=_object(asyncapi="string", info="object", channels="object"),
        example={"asyncapi": "3.1.0", "info": {"title": "The socket", "version": "3.2"}, "channels": {}},
    )
    def get(self, request: Request) -> HttpResponse:
        """AsyncAPI 3.1 of the socket: every frame in both directions, errors and close codes."""
        return HttpResponse(asyncapi(), content_type="application/json")


class DocsView(DocumentView):
    @operation(
        "docs",
        tag=TAG,
        summary="The API as a page",
        answer={"type": "string"},
        media_type="text/html",
        example="<!DOCTYPE html>",
    )
    def get(self, request: Request) -> HttpResponse:
        """For people: reads this document, and calls what it describes."""
        return render(request, "api/docs.html")


class ProtoView(DocumentView):
    @operation(
        "proto",
        tag=TAG,
        summary="The socket's protobuf definition",
        answer={"type": "string"},
        media_type="text/plain",
        example='syntax = "proto3";',
    )
    def get(self, request: Request) -> HttpResponse:
        """Of the frames in subprotocol `whatsapp.v3.2.protobuf`."""
        return HttpResponse(_proto(), content_type="text/plain; charset=utf-8")
