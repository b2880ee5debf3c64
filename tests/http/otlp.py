"""Writes OpenTelemetry's metrics requests, as protobuf and as JSON out of one description, and reads the answers.

SPDX-License-Identifier: Apache-2.0

A request is a list of (resource attributes, scope or None, [metric, ...]); a metric is a dict with "name", "unit" and
one of the kinds of KINDS, whose value is a dict with "points" and what the kind has besides.
"""
import json
import struct

from remote_write import field, varint

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON_TYPE = {"Content-Type": "application/json"}
DELTA, CUMULATIVE = 1, 2
NO_VALUE = {"flags": 1}


def fixed(number, value):
    """Eight bytes of an int, signed or not."""
    return varint(number << 3 | 1) + struct.pack("<Q", value & (1 << 64) - 1)


# ---------------------------------------------------------------- attributes

def any_value(value):
    if isinstance(value, bool):
        return field(2, int(value))
    if isinstance(value, int):
        return field(3, value)
    if isinstance(value, float):
        return field(4, value)
    if isinstance(value, str):
        return field(1, value)
    if isinstance(value, bytes):
        return field(7, value)
    if isinstance(value, list):
        return field(5, b"".join(field(1, any_value(each)) for each in value))
    if isinstance(value, dict):
        return field(6, b"".join(field(1, pair) for pair in map(key_value, value.items())))
    return b""


def any_value_json(value):
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bytes):
        return {"bytesValue": "eHg="}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value_json(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes_json(value)}}
    return {}


def key_value(pair):
    return field(1, pair[0]) + field(2, any_value(pair[1]))


def attributes(number, given):
    return b"".join(field(number, key_value(pair)) for pair in given.items())


def attributes_json(given):
    return [{"key": key, "value": any_value_json(value)} for key, value in given.items()]


# ---------------------------------------------------------------- data points

def number_point(point):
    value = point.get("value")
    encoded = b"" if value is None else fixed(6, value) if isinstance(value, int) else field(4, value)
    return (attributes(7, point.get("attributes", {})) + fixed(3, point["ms"] * 1000000) + encoded
            + (field(8, point["flags"]) if "flags" in point else b""))


def number_point_json(point):
    value = point.get("value")
    out = {"timeUnixNano": str(point["ms"] * 1000000), "attributes": attributes_json(point.get("attributes", {}))}
    if value is not None:
        special = {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(value, "NaN" if value != value else value)
        out.update({"asInt": str(value)} if isinstance(value, int) else {"asDouble": special})
    return {**out, **({"flags": point["flags"]} if "flags" in point else {})}


def histogram_point(point):
    return (attributes(9, point.get("attributes", {})) + fixed(3, point["ms"] * 1000000) + fixed(4, point["count"])
            + (field(5, float(point["sum"])) if "sum" in point else b"")
            + field(6, struct.pack("<3Q", 1, 2, 3)) + field(7, struct.pack("<2d", 0.5, 1.0))
            + (field(10, point["flags"]) if "flags" in point else b""))


def histogram_point_json(point):
    out = {"timeUnixNano": str(point["ms"] * 1000000), "count": str(point["count"]), "bucketCounts": ["1", "2", "3"],
           "explicitBounds": [0.5, 1], "attributes": attributes_json(point.get("attributes", {}))}
    return {**out, **{key: point[key] for key in ("sum", "flags") if key in point}}


def exponential_point(point):
    return attributes(1, point.get("attributes", {})) + fixed(3, point["ms"] * 1000000) + fixed(4, point["count"])


def exponential_point_json(point):
    return {"timeUnixNano": str(point["ms"] * 1000000), "count": str(point["count"]), "scale": 3,
            "attributes": attributes_json(point.get("attributes", {}))}


def summary_point(point):
    quantiles = b"".join(field(6, field(1, float(level)) + field(2, float(value)))
                         for level, value in point["quantiles"].items())
    return (fixed(3, point["ms"] * 1000000) + fixed(4, point["count"]) + field(5, float(point["sum"])) + quantiles
            + attributes(7, point.get("attributes", {})))


def summary_point_json(point):
    return {"timeUnixNano": str(point["ms"] * 1000000), "count": str(point["count"]), "sum": point["sum"],
            "quantileValues": [{"quantile": level, "value": value} for level, value in point["quantiles"].items()],
            "attributes": attributes_json(point.get("attributes", {}))}


KINDS = {"gauge": (5, number_point, number_point_json), "sum": (7, number_point, number_point_json),
         "histogram": (9, histogram_point, histogram_point_json),
         "exponentialHistogram": (10, exponential_point, exponential_point_json),
         "summary": (11, summary_point, summary_point_json)}


# ---------------------------------------------------------------- requests

def kind_of(metric):
    kind, = set(metric) & set(KINDS)
    return kind, metric[kind]


def metric_protobuf(metric):
    kind, data = kind_of(metric)
    number, point, _ = KINDS[kind]
    body = (b"".join(field(1, point(each)) for each in data["points"])
            + (field(2, data["temporality"]) if "temporality" in data else b"")
            + (field(3, 1) if data.get("monotonic") else b""))
    return field(1, metric["name"]) + field(2, "what it is") + field(3, metric.get("unit", "")) + field(number, body)


def metric_json(metric):
    kind, data = kind_of(metric)
    body = {"dataPoints": [KINDS[kind][2](each) for each in data["points"]]}
    if "temporality" in data:
        body["aggregationTemporality"] = data["temporality"]
    if data.get("monotonic"):
        body["isMonotonic"] = True
    return {"name": metric["name"], "description": "what \"it\" is", "unit": metric.get("unit", ""), kind: body}


def scope_protobuf(scope):
    name, version, given = scope
    return field(1, name) + field(2, version) + attributes(3, given)


def scope_json(scope):
    name, version, given = scope
    return {"name": name, "version": version, "attributes": attributes_json(given)}


def request_protobuf(request):
    out = b""
    for resource, scope, metrics in request:
        inner = field(1, scope_protobuf(scope)) if scope else b""
        inner += b"".join(field(2, metric_protobuf(metric)) for metric in metrics)
        out += field(1, field(1, attributes(1, resource)) + field(2, inner))
    return out


def request_json(request):
    return json.dumps({"resourceMetrics": [
        {"resource": {"attributes": attributes_json(resource), "droppedAttributesCount": 0},
         "scopeMetrics": [{**({"scope": scope_json(scope)} if scope else {}),
                           "metrics": [metric_json(metric) for metric in metrics]}]}
        for resource, scope, metrics in request]}).encode()


# ---------------------------------------------------------------- answers

def fields_of(message):
    """{number: value} of the varints and strings of a message."""
    out, at = {}, 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        if key & 7 == 0:
            out[key >> 3] = number()
        else:
            assert key & 7 == 2, message
            length = number()
            out[key >> 3] = message[at:at + length]
            at += length
    return out


def refused(answer):
    """(refused data points, text) of an answer of either encoding; its form is checked."""
    assert answer.status == 200, answer
    if answer.type == "application/json":
        partial = answer.json.get("partialSuccess")
        return (int(partial["rejectedDataPoints"]), partial["errorMessage"]) if partial else (0, "")
    assert answer.type == "application/x-protobuf", answer.type
    if not answer.body:
        return 0, ""
    partial = fields_of(fields_of(answer.body)[1])
    return partial[1], partial[2].decode()


def failure(answer):
    """(number, text) of google.rpc.Status of either encoding."""
    if answer.type == "application/json":
        return answer.json["code"], answer.json["message"]
    assert answer.type == "application/x-protobuf", answer.type
    status = fields_of(answer.body)
    return status[1], status[2].decode()
