"""Writes zstd frames with the standard library alone: stored blocks, and blocks that repeat one byte.

SPDX-License-Identifier: Apache-2.0
"""
import struct

MAGIC = b"\x28\xb5\x2f\xfd"
BLOCK_MAX = 128 << 10
STORED, REPEATED = 0, 1


def header(window_log):
    """Of a frame without a stated length: the window, a power of two from 2^10."""
    return MAGIC + b"\x00" + bytes([(window_log - 10) << 3])


def block(kind, size, content, last):
    return struct.pack("<I", size << 3 | kind << 1 | last)[:3] + content


def zstd(data, window_log=17):
    parts = [data[at:at + BLOCK_MAX] for at in range(0, len(data), BLOCK_MAX)] or [b""]
    return header(window_log) + b"".join(block(STORED, len(part), part, i + 1 == len(parts))
                                         for i, part in enumerate(parts))


def bomb(size):
    """`size` blanks in four bytes for each 128 KiB."""
    count = size // BLOCK_MAX
    return header(17) + b"".join(block(REPEATED, BLOCK_MAX, b" ", i + 1 == count) for i in range(count))
