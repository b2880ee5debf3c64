"""The program is hardened: what the build asks for has arrived in the binary.

SPDX-License-Identifier: Apache-2.0
"""
import platform
import re
import subprocess

from daemon import BINARY


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_addresses_are_random():
    head, dynamic = said("readelf", "-hW", BINARY), said("readelf", "-dW", BINARY)
    assert re.search(r"Type:\s+DYN", head), head
    assert re.search(r"FLAGS_1.*PIE", dynamic), dynamic
    assert "TEXTREL" not in dynamic, dynamic


def test_tables_are_read_only_before_main():
    assert "GNU_RELRO" in said("readelf", "-lW", BINARY)
    assert re.search(r"FLAGS.*(BIND_NOW|NOW)", said("readelf", "-dW", BINARY))


def test_no_memory_is_writable_and_executable():
    for line in said("readelf", "-lW", BINARY).split("\n"):
        found = re.match(r"\s+(LOAD|GNU_STACK)\s.*\s0x[0-9a-f]+\s+0x[0-9a-f]+\s+([RWE ]{3})\s", line)
        assert not found or not ("W" in found.group(2) and "E" in found.group(2)), line
        assert not found or found.group(1) != "GNU_STACK" or "E" not in found.group(2), line


def test_no_library_is_looked_for_beside_the_program():
    dynamic = said("readelf", "-dW", BINARY)
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic, dynamic


def test_the_stack_and_the_bounds_of_copies_are_checked():
    symbols = said("readelf", "-W", "--dyn-syms", BINARY)
    assert "__stack_chk_fail" in symbols
    checked = set(re.findall(r"__(\w+)_chk@", symbols))
    assert {"memcpy", "snprintf", "vsnprintf"} <= checked, checked


def test_jumps_land_where_they_may():
    if platform.machine() != "x86_64":
        return
    code = said("objdump", "-d", "--no-show-raw-insn", "--disassemble=config_load", BINARY)
    assert "endbr64" in code, code[:500]
    assert re.search(r"\bsub +\$0x1000,%rsp", said("objdump", "-d", "--no-show-raw-insn", BINARY)), "no stack clash protection"
