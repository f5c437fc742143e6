"""Base classes of views."""

from __future__ import annotations

from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.views import APIView


class PublicView(APIView):
    """No token is asked for, and one that was sent is not looked at."""

    authentication_classes = ()
    permission_classes = ()


class OneForm(DefaultContentNegotiation):
    """For what has one form only: what the client says it accepts is not asked (RFC 9110, section 12.5.1 allows it). Probes of
    load balancers and tools that fetch a document send whatever they like."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class DocumentView(PublicView):
    """Public, with an answer that has one form."""

    content_negotiation_class = OneForm
