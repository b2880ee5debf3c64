#!/usr/bin/env python3
"""Runs the programs that kill with SIGKILL, kill_*.py, one after the other, and adds up what they counted.

SPDX-License-Identifier: Apache-2.0

Each says at its top which variable holds the number of its kills. Closing line: "N passed, N failed".
"""
import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    passed = failed = 0
    for path in sorted(glob.glob(os.path.join(HERE, "kill_*.py"))):
        done = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, text=True, check=False)
        closing = re.findall(r"^(\d+) passed, (\d+) failed$", done.stdout, re.M)
        good, bad = map(int, closing[-1]) if closing else (0, 1)
        print(f"{os.path.basename(path)}: {good} passed, {bad} failed")
        print(re.sub(r"^\d+ passed, \d+ failed\n", "", done.stdout, flags=re.M), end="", flush=True)
        passed += good
        failed += bad or (done.returncode != 0)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
