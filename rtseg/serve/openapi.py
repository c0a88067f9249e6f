"""The API of a server, as OpenAPI 3.1 describes it."""

from typing import Any

from rtseg.serve.answers import RESULTS
from rtseg.serve.limits import Limits
from rtseg.version import VERSION

_BINARY: dict[str, Any] = {}  # in OpenAPI 3.1 a body of bytes has no schema
_IMAGES = ("image/png", "image/jpeg", "image/bmp", "image/webp", "image/tiff", "application/octet-stream")
_ERRORS = {
    "400": "a parameter is unknown or has a value that it does not take, or there is no body",
    "408": "the body did not arrive in time",
    "413": "too many bytes or pixels",
    "415": "the body is no image that is read: a film, an archive, a compressed body, a form",
    "421": "a loopback address was asked for under the name of a domain",
    "422": "the image is damaged, or the network does not take it",
    "431": "the header of the request is too long",
    "500": "the server failed",
    "503": "too many requests; Retry-After says when to send it again",
}


def document(limits: Limits) -> dict[str, Any]:
    """The description of a server with these limits."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "rtseg serve", "version": VERSION, "description": "Semantic segmentation of images."},
        "paths": {
            "/api/segment": {"post": _segment(limits)},
            "/network.json": {"get": _get("network", "the network and its classes, in the order of raw results")},
            "/health": {"get": _get("health", "how the server is", "Health")},
            "/openapi.json": {"get": _get("openapi", "this description")},
            "/": {"get": _get("page", "the page to try the network on", media_type="text/html")},
        },
        "components": {"schemas": _SCHEMAS},
    }


def _segment(limits: Limits) -> dict[str, Any]:
    return {
        "operationId": "segment",
        "summary": "segment an image",
        "description": f"The body is an image file of at most {limits.body:,} bytes and {limits.pixels:,} pixels: PNG, "
        "JPEG, BMP, WebP or TIFF. The class map has the size of the image, upright by its EXIF tag.",
        "parameters": [
            _parameter(
                "result",
                {"type": "string", "enum": list(RESULTS), "default": RESULTS[0]},
                "png: the ids of the classes as grey levels, as `rtseg predict` writes them. json: the classes that "
                "are in the image. raw: height*width class numbers of 8 bits (of 16 bits, little-endian, above 256 "
                "classes), then, where X-Margin is 1, height*width margins in thousandths of 16 bits, little-endian",
            ),
            _parameter(
                "polygons",
                {"type": "boolean", "default": False},
                "with json: the outlines of each class, along the edges of its pixels",
            ),
        ],
        "requestBody": {"required": True, "content": {kind: _BINARY for kind in _IMAGES}},
        "responses": {
            "200": {
                "description": "the result",
                "headers": {
                    "X-Size": _header({"type": "string"}, "height and width, with a space between"),
                    "X-Margin": _header({"type": "string", "enum": ["0", "1"]}, "whether margins follow"),
                    "X-Milliseconds": _header({"type": "string"}, "a JSON object with the time of each stage"),
                },
                "content": {
                    "image/png": _BINARY,
                    "application/json": {"schema": {"$ref": "#/components/schemas/Result"}},
                    "application/octet-stream": _BINARY,
                },
            },
            **{status: _error(why) for status, why in _ERRORS.items()},
        },
    }


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _header(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"schema": schema, "description": description}


def _error(why: str) -> dict[str, Any]:
    return {
        "description": why,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


def _get(name: str, summary: str, schema: str = "", media_type: str = "application/json") -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}} if schema else {}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {media_type: content}}},
    }


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": properties}


_COUNT, _NUMBER, _TEXT = {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}, {"type": "string"}
_RING = {"type": "array", "items": _NUMBER, "description": "x, y, x, y, ... in pixels"}
_PART = {"type": "array", "items": _RING, "description": "the outer ring, then those of its holes"}
_CLASS = {
    "id": _COUNT,
    "name": _TEXT,
    "pixels": _COUNT,
    "share": _NUMBER,
    "polygons": {"type": "array", "items": _PART},
}
_SCHEMAS = {
    "Error": _object({"error": {"type": "string", "description": "one sentence"}}),
    "Result": _object(
        {
            "height": _COUNT,
            "width": _COUNT,
            "classes": {"type": "array", "items": {"$ref": "#/components/schemas/Class"}},
            "milliseconds": {"type": "object", "additionalProperties": _NUMBER},
        }
    ),
    "Class": _object(_CLASS, "polygons"),
    "Health": _object(
        {
            "status": {"const": "ok"},
            "network": _TEXT,
            "engine": _TEXT,
            "uptime": _NUMBER,
            "requests": _COUNT,
            "waiting": _COUNT,
        }
    ),
}
