#!/usr/bin/env python3
"""Runs a black-box suite: every test_* function of every test_*.py beside this file, or in the folder SUITE.

SPDX-License-Identifier: Apache-2.0

usage: run.py [WORD...]     only tests whose name (module.function) holds one of the words
       run.py --module NAME [WORD...]     one module, in this process

FORECASTD names the binary. A function with a parameter shares one daemon with its module; one
without starts its own. A module's SETTINGS are handed to the shared daemon as --set options.
HTTP_SHORT=1 leaves out functions marked `slow`. Each answer is held against the OpenAPI document
(contract.py), unless CONTRACT=0. HTTP_JOBS modules run side by side, 2 where it is not set: most of
them wait rather than compute. A test that raises LeftOut is named, and counts as skipped. Each says its
seconds and its processor time. Closing line: "N passed, N failed", and ", N skipped" where some were.
"""
import glob
import importlib
import inspect
import os
import re
import resource
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor, as_completed

HERE = os.path.dirname(os.path.abspath(__file__))
SUITE = os.path.abspath(os.environ.get("SUITE", HERE))
sys.path[:0] = [SUITE, HERE]
# An interpreter beside Debian's finds Debian's packages behind its own.
sys.path.append("/usr/lib/python3/dist-packages")

from daemon import BINARY, Daemon, LeftOut  # noqa: E402 (the path comes first)


def processor_time():
    """Seconds of this process and of the daemons that have ended."""
    return sum(used.ru_utime + used.ru_stime
               for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def closing(passed, failed, skipped):
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def run_module(name, words):
    module = importlib.import_module(name)
    tests = [(key, value) for key, value in vars(module).items()
             if key.startswith("test_") and inspect.isfunction(value)]
    tests = [(key, value) for key, value in tests
             if (not words or any(word in f"{name}.{key}" for word in words))
             and not (os.environ.get("HTTP_SHORT") == "1" and getattr(value, "slow", False))]
    daemon = None
    passed, failed, skipped = 0, [], 0
    begin = time.monotonic()
    for key, test in tests:
        try:
            if inspect.signature(test).parameters:
                if daemon is None or daemon.process.poll() is not None:
                    daemon = Daemon(*getattr(module, "SETTINGS", ())).start()
                test(daemon)
            else:
                test()
            passed += 1
        except LeftOut as reason:
            skipped += 1
            print(f"LEFT OUT  {name}.{key}: {reason}")
        except Exception:  # a test may fail in any way; the others go on
            failed.append(key)
            print(f"FAILED  {name}.{key}")
            for line in traceback.format_exc().strip().split("\n")[-7:]:
                print(f"        {line[:400]}")
            if daemon and daemon.process.poll() is not None:
                print(f"        the daemon ended with {daemon.process.returncode}: {daemon.log()[-1500:]}")
    if daemon:
        code = daemon.stop()
        if code != 0:
            failed.append("exit code")
            print(f"FAILED  {name}: the daemon stopped with {code}: {daemon.log()[-2500:]}")
        daemon.remove()
    if tests:
        print(f"  {'ok' if not failed else '--':4}  {name:20} {passed:3} passed, {len(failed):2} failed, "
              f"{time.monotonic() - begin:5.1f} s, processor {processor_time():5.1f} s", flush=True)
    return passed, len(failed), skipped


def run_apart(name, words):
    """The module in a process of its own: (what it said, passed, failed, skipped)."""
    done = subprocess.run([sys.executable, os.path.abspath(__file__), "--module", name, *words],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = done.stdout.rstrip("\n").split("\n")
    counts = re.fullmatch(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?", lines[-1])
    if not counts:
        return "\n".join([*lines, f"FAILED  {name}: it ended with {done.returncode}"]), 0, 1, 0
    return "\n".join(lines[:-1]), int(counts[1]), int(counts[2]), int(counts[3] or 0)


def main():
    if os.environ.get("CONTRACT") != "0":
        try:
            import contract
        except ModuleNotFoundError as error:
            print(f"{error}: sh deploy/install-deps.sh test brings it, CONTRACT=0 does without")
            print("0 passed, 1 failed")
            return 1
        Daemon.judge = staticmethod(contract.check)
    if sys.argv[1:2] == ["--module"]:
        passed, failed, skipped = run_module(sys.argv[2], sys.argv[3:])
        print(closing(passed, failed, skipped))
        return 1 if failed else 0
    if not os.access(BINARY, os.X_OK):
        print(f"no binary at {BINARY}; build it or set FORECASTD")
        print("0 passed, 1 failed")
        return 1
    names = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(SUITE, "test_*.py")))
    passed = failed = skipped = 0
    with ThreadPoolExecutor(int(os.environ.get("HTTP_JOBS", 2))) as pool:
        for ended in as_completed([pool.submit(run_apart, name, sys.argv[1:]) for name in names]):
            said, good, bad, left_out = ended.result()
            if said:
                print(said, flush=True)
            passed += good
            failed += bad
            skipped += left_out
    print(closing(passed, failed, skipped))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
