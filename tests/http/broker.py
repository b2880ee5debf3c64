"""A broker for tests: one subscriber, MQTT 3.1.1, every packet by hand so that it can misbehave.

SPDX-License-Identifier: Apache-2.0
"""
import socket
import struct

from daemon import SLOWNESS


def length_of(number):
    out = b""
    while True:
        number, group = number >> 7, number & 127
        out += bytes([group | (128 if number else 0)])
        if not number:
            return out


def publish(topic, payload, number=0, retained=False):
    """Quality of service 1 where there is a number."""
    body = struct.pack(">H", len(topic)) + topic.encode() + (struct.pack(">H", number) if number else b"")
    body += payload if isinstance(payload, bytes) else payload.encode()
    return bytes([0x30 | (2 if number else 0) | retained]) + length_of(len(body)) + body


class Session:
    """One accepted connection."""

    def __init__(self, link):
        self.link = link
        self.taken_back = []  # filters
        link.settimeout(10 * SLOWNESS)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.link.recv(count - len(data))
            if not part:
                raise ConnectionError("the client closed")
            data += part
        return data

    def packet(self):
        """(type, flags, body) of the next packet."""
        first, length, shift = self.exactly(1)[0], 0, 0
        while True:
            group = self.exactly(1)[0]
            length |= (group & 127) << shift
            shift += 7
            if group < 128:
                return first >> 4, first & 15, self.exactly(length)

    def send(self, data):
        self.link.sendall(data)

    def welcome(self, codes=b"\x01"):
        """CONNECT, UNSUBSCRIBE where it comes, and SUBSCRIBE, taken; returns the bodies of the first and the last."""
        kind, _, connect = self.packet()
        assert kind == 1, kind
        self.send(b"\x20\x02\x00\x00")
        kind, flags, subscribe = self.packet()
        if kind == 10:
            self.take_back(flags, subscribe)
            kind, flags, subscribe = self.packet()
        assert (kind, flags) == (8, 2)
        self.send(b"\x90" + length_of(2 + len(codes)) + subscribe[:2] + codes)
        return connect, subscribe

    def take_back(self, flags, body):
        """An UNSUBSCRIBE, answered."""
        assert flags == 2, flags
        number, at = body[:2], 2
        while at < len(body):
            length, = struct.unpack_from(">H", body, at)
            self.taken_back.append(body[at + 2:at + 2 + length].decode())
            at += 2 + length
        self.send(b"\xb0\x02" + number)

    def acknowledged(self):
        """The number of the next PUBACK."""
        kind, _, body = self.packet()
        assert kind == 4 and len(body) == 2, (kind, body)
        return struct.unpack(">H", body)[0]

    def close(self):
        self.link.close()


class Broker:
    def __init__(self):
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.listener.settimeout(15 * SLOWNESS)
        self.port = self.listener.getsockname()[1]

    @property
    def settings(self):
        return [f"mqtt.broker=mqtt://127.0.0.1:{self.port}"]

    def accept(self):
        return Session(self.listener.accept()[0])

    def close(self):
        self.listener.close()
