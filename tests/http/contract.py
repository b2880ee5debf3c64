"""Holds answers of the daemon against the OpenAPI document of the tree: status, type, headers, body.

SPDX-License-Identifier: Apache-2.0

run.py hands each answer that a test gets to `check`. What differs is an AssertionError, so it fails the test that asked.
What a request said is looked at where the daemon took it: then the document has to allow it, too.
"""
import functools
import gzip
import json
import os
import re
import subprocess
import urllib.parse

import jsonschema

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
JSON_TYPES = ("application/json", "application/problem+json")
REQUEST_BYTES_MAX = 64 << 10  # of bodies that are looked at: those of the load tests say nothing new
BEFORE_ROUTES = (400, 403, 503)  # framing, host, origin, or no room: answered whatever the route is
SCALARS = {"number": {int, float}, "integer": {int}, "string": {str}, "null": {type(None)}, "boolean": {bool}}


def scalar_types(schema):
    """The types of Python that a schema of nothing but scalar types allows; None for any other schema."""
    if not isinstance(schema, dict) or set(schema) - {"type", "description"} or "type" not in schema:
        return None
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return set().union(*(SCALARS[name] for name in names)) if all(name in SCALARS for name in names) else None


def are_plain(schema, values):
    """Whether all values are numbers, texts or rows of such as the schema allows; False also where it says more."""
    allowed = scalar_types(schema)
    if allowed is not None:
        return not set(map(type, values)) - allowed
    columns = [scalar_types(one) for one in schema.get("prefixItems", [])]
    if not columns or None in columns or set(schema) - {"type", "prefixItems", "minItems", "maxItems", "description"}:
        return False
    if any(type(row) is not list or len(row) != len(columns) for row in values):
        return False
    return all(not set(map(type, column)) - types for column, types in zip(zip(*values), columns))


def items(validator, schema, instance, whole):
    """The keyword `items`; long arrays of numbers, which most of the bytes are, in one go."""
    if "prefixItems" in whole or not isinstance(instance, list) or not are_plain(schema, instance):
        yield from jsonschema.Draft202012Validator.VALIDATORS["items"](validator, schema, instance, whole)


Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"items": items})


def inlined(value, document):
    """The same with each $ref replaced by what it points to; there are no circles."""
    if isinstance(value, list):
        return [inlined(one, document) for one in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        found = document
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return inlined(found, document)
    return {key: inlined(one, document) for key, one in value.items()}


def read_document():
    done = subprocess.run(["sh", os.path.join(ROOT, "api/openapi/join.sh"), "0.0.0"], capture_output=True, check=True)
    return json.loads(done.stdout)


def no_constant(word):
    raise AssertionError(f"{word} is no JSON")


class Contract:
    """The document, ready for questions."""

    def __init__(self, document):
        document = inlined(document, document)
        self.paths = document["paths"]
        self.schemas = document["components"]["schemas"]
        self.patterns = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), path)
                         for path in self.paths if "{" in path]
        self.validators = {}

    def template(self, path):
        """The path of the document that a request's path means; None where there is none."""
        if path in self.paths:
            return path
        return next((template for pattern, template in self.patterns if pattern.fullmatch(path)), None)

    def validate(self, schema, value, what):
        validator = self.validators.get(id(schema))
        if validator is None:
            validator = self.validators[id(schema)] = Validator(schema)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        assert error is None, f"{what}: {error.json_path}: {error.message[:300]}"

    def check(self, request, answer):
        """`request`: (method, target, body, headers)."""
        method, target = request[:2]
        path = target.split("?")[0]
        template = self.template(path)
        what = f"the document does not have {method} {path} -> {answer.status} {answer.type}"
        assert answer.headers.get("x-request-id"), f"{what}: no X-Request-Id"
        if template is None:
            assert answer.status in (404, *BEFORE_ROUTES), what
            self.check_refusal(path, answer, what)
            return
        methods = {name.upper(): one for name, one in self.paths[template].items() if name != "parameters"}
        operation = methods.get("GET" if method == "HEAD" else method)
        if operation is None:
            assert answer.status in (405, *BEFORE_ROUTES), what
            if answer.status == 405:
                allowed = set(methods) | ({"HEAD"} if "GET" in methods else set())
                assert set(answer.headers["allow"].split(", ")) == allowed, f"{what}: {answer.headers['allow']}"
            self.check_refusal(path, answer, what)
            return
        self.check_answer(operation, method, answer, what)
        if 200 <= answer.status < 300:
            self.check_request(operation, request)

    def check_refusal(self, path, answer, what):
        """What has no operation is refused in the form of the protocol that the path belongs to."""
        name = "Problem"
        if path.startswith("/prometheus/"):
            name = "PrometheusError"
        elif path.startswith("/api/v2/"):
            name = "InfluxError2"
        elif path in ("/write", "/query", "/ping", "/health"):
            name = "InfluxError"
        elif path.startswith("/v1/metrics"):
            name = "OtlpError"
        assert answer.type == ("application/problem+json" if name == "Problem" else "application/json"), what
        if answer.body:
            self.validate(self.schemas[name], answer.json, what)

    def check_answer(self, operation, method, answer, what):
        response = operation["responses"].get(str(answer.status))
        assert response, what
        for name, header in response.get("headers", {}).items():
            value = answer.headers.get(name.lower())
            assert value is not None or not header.get("required"), f"{what}: no {name}"
            if value is not None:
                self.validate(header["schema"], int(value) if header["schema"]["type"] == "integer" else value, f"{what}: {name}")
        content = response.get("content")
        if not content:
            assert answer.body == b"", f"{what}: a body"
            return
        assert answer.type in content, what
        if method == "HEAD" or answer.type not in JSON_TYPES:
            return
        packed = answer.headers.get("content-encoding") == "gzip"
        value = json.loads(gzip.decompress(answer.body) if packed else answer.body, parse_constant=no_constant)
        self.validate(content[answer.type]["schema"], value, what)
        if answer.type == "application/problem+json":
            assert value["status"] == answer.status, f"{what}: status {value['status']}"

    def check_request(self, operation, request):
        method, target, body, headers = request
        what = f"the document does not allow {method} {target[:200]}"
        known = {one["name"]: one for one in operation.get("parameters", []) if one["in"] == "query"}
        given = urllib.parse.parse_qs(target.partition("?")[2])
        for name, parameter in known.items():
            assert name in given or not parameter.get("required"), f"{what}: no {name}"
            for value in given.get(name, []):
                self.validate(parameter["schema"], parameter_value(parameter, value), f"{what}: {name}")
        kind = {key.lower(): value for key, value in headers.items()}
        content = operation.get("requestBody", {}).get("content", {})
        plain = "content-encoding" not in kind and kind.get("content-type", "").split(";")[0] == "application/json"
        if plain and "application/json" in content and body and len(body) <= REQUEST_BYTES_MAX:
            self.validate(content["application/json"]["schema"], json.loads(body), f"{what}: the body")


def parameter_value(parameter, text):
    """The text of a query parameter as the type that its schema has; one that may repeat is a list of one here."""
    schema = parameter["schema"]
    if schema["type"] == "array":
        parts = text.split(",") if parameter.get("explode") is False else [text]
        return [parameter_value({"schema": schema["items"]}, part) for part in parts]
    if schema["type"] in ("integer", "number"):
        try:
            return int(text) if schema["type"] == "integer" else float(text)
        except ValueError:
            return text
    return text


@functools.cache
def contract():
    return Contract(read_document())


def check(request, answer):
    contract().check(request, answer)
