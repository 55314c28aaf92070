"""The OpenAPI document: FastAPI's, and what FastAPI cannot know.

The scope of each operation comes from the route table, so that the document cannot promise another
one than the gate asks for. The document is made at the first request for it: it takes longer than
all else that a start does in Python.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.route_table import ROUTES
from app.schemas import ProblemReply

SECURITY_SCHEME = "key"


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The whole document; made once."""
    if app.openapi_schema is None:
        document: dict[str, Any] = app.openapi()
        components = document.setdefault("components", {})
        components["schemas"]["ProblemReply"] = ProblemReply.model_json_schema()
        components["securitySchemes"] = {
            SECURITY_SCHEME: {
                "type": "http",
                "scheme": "bearer",
                "description": "Asked for only when the service has keys.",
            }
        }
        for route in ROUTES:
            for method, scope in route.scopes.items():
                operation = document["paths"].get(route.template, {}).get(method.lower())
                if operation is not None and scope is not None:
                    operation["security"] = [{SECURITY_SCHEME: []}]
                    operation["x-scope"] = scope
        app.openapi_schema = document
    return app.openapi_schema
