#!/usr/bin/env python3
"""Looks at what is shipped beside the binary: man page, unit, example, install, and deploy/.

SPDX-License-Identifier: Apache-2.0

usage: run.py [WORD...]     only tests whose name (module.function) holds one of the words

FORECASTD names the binary. `make check/packaging` installs the tools (systemd-analyze, mandoc, promtool,
python3-yaml) first; where one is missing, its tests fail. Closing line: "N passed, N failed".
"""
import glob
import importlib
import inspect
import os
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "http")]  # the latter for daemon.py


def main():
    words = sys.argv[1:]
    passed = failed = 0
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        name = os.path.basename(path)[:-3]
        module = importlib.import_module(name)
        for key, test in list(vars(module).items()):
            if not key.startswith("test_") or not inspect.isfunction(test):
                continue
            if words and not any(word in f"{name}.{key}" for word in words):
                continue
            try:
                test()
                passed += 1
            except Exception:  # a test may fail in any way; the others go on
                failed += 1
                print(f"FAILED  {name}.{key}")
                for line in traceback.format_exc().strip().split("\n")[-5:]:
                    print(f"        {line[:600]}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
