"""Writes remote-write messages 1.0 and 2.0 and snappy blocks, with the standard library alone.

SPDX-License-Identifier: Apache-2.0
"""
import struct

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
TYPE_1 = "application/x-protobuf"
TYPE_2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
HEADERS_1 = {"Content-Type": TYPE_1, "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
HEADERS_2 = {"Content-Type": TYPE_2, "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "2.0.0"}


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, content):
    """A field: an int as varint, a float as eight bytes, a str or bytes with its length."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    if isinstance(content, float):
        return varint(number << 3 | 1) + struct.pack("<d", content)
    if isinstance(content, str):
        content = content.encode()
    return varint(number << 3 | 2) + varint(len(content)) + content


def snappy(data):
    """A block of literals only: valid, though nothing is compressed."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 65536):
        part = data[at:at + 65536]
        out += b"\xf4" + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


def sample(time_ms, value):
    """Zeroes are left out, as proto3 does."""
    return (field(1, float(value)) if value != 0 else b"") + (field(2, time_ms) if time_ms else b"")


def labels_of(name, labels):
    return sorted([("__name__", name)] * (name is not None) + list(labels.items()))


def series_1(name, labels, samples, extra=b""):
    pairs = labels_of(name, labels)
    return (b"".join(field(1, field(1, key) + field(2, value)) for key, value in pairs)
            + b"".join(field(2, sample(*each)) for each in samples) + extra)


def request_1(*series, extra=b""):
    return b"".join(field(1, one) for one in series) + extra


class Symbols:
    """The table of symbols of a request of 2.0."""

    def __init__(self):
        self.numbers = {"": 0}

    def number(self, text):
        return self.numbers.setdefault(text, len(self.numbers))

    def encode(self):
        return b"".join(field(4, text) for text in self.numbers)


def series_2(symbols, name, labels, samples, extra=b"", packed=True):
    numbers = [symbols.number(text) for pair in labels_of(name, labels) for text in pair]
    references = (field(1, b"".join(map(varint, numbers))) if packed
                  else b"".join(field(1, number) for number in numbers))
    metadata = field(5, field(1, 2) + field(3, symbols.number("a help text")))
    return references + b"".join(field(2, sample(*each)) for each in samples) + extra + metadata


def request_2(symbols, *series, symbols_last=False):
    body = b"".join(field(5, one) for one in series)
    return body + symbols.encode() if symbols_last else symbols.encode() + body
