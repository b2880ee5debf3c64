#!/usr/bin/env python3
"""House rules that a compiler does not check: include directions, banned calls, sizes, wording.

SPDX-License-Identifier: Apache-2.0

usage: lint.py [FILE...]     without files: all that git knows or would add

Prints one line a finding, FILE:LINE: what is wrong, and closes with "N passed, N failed", counting
files. STYLE.md says why each rule is there.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

LAYERS = ("base", "storage", "model", "api", "server")
BELOW = {
    "base": {"base"},
    "storage": {"base"},
    "model": {"base"},
    "api": {"base", "storage", "model"},
    "server": {"base", "storage", "model", "api"},
}
PUBLIC = {"storage/storage.h", "storage/writer.h", "storage/backup.h", "storage/downsample.h", "model/model.h", "model/backtest.h", "api/api.h",
          "api/mqtt_feed.h"}
LIBRARIES = {
    "sqlite3.h": re.compile(r"storage/(sqlite|journal|chunk)[a-z_]*\.c|tests/.*"),
    "cblas.h": re.compile(r"model/tape/blas\.c|tests/.*"),
    "jansson.h": re.compile(r"api/[a-z_]+\.[ch]|tests/.*"),
    "microhttpd.h": re.compile(r"server/[a-z_]+\.[ch]|tests/.*"),
    "gnutls/gnutls.h": re.compile(r"server/(tls|mqtt_link)[a-z_]*\.c"),
    "gnutls/x509.h": re.compile(r"server/(tls|mqtt_link)[a-z_]*\.c"),
    "gnutls/abstract.h": re.compile(r"server/tls[a-z_]*\.c"),
    "seccomp.h": re.compile(r"server/sandbox[a-z_]*\.c"),
    "yaml.h": re.compile(r"server/config[a-z_]*\.c"),
    "zstd.h": re.compile(r"api/inflate\.c|tests/.*"),
    "curl/curl.h": re.compile(r"server/fetch\.c"),
    "zlib.h": re.compile(r"(api|server)/[a-z_]+\.c|tests/.*"),
}
# Private headers may name their own library; the public ones never do.
LIBRARY_IN_HEADER = {
    "jansson.h": re.compile(r"api/(json|call|handlers)[a-z_]*\.h"),
    "microhttpd.h": re.compile(r"server/http[a-z_]*\.h"),
}

BANNED = {
    "strcpy": "no bound: use text_* or snprintf", "strcat": "no bound: use text_*",
    "strncat": "surprising bound: use text_*", "sprintf": "no bound: use snprintf or text_*",
    "vsprintf": "no bound: use vsnprintf", "gets": "no bound", "strtok": "hidden state",
    "alloca": "unbounded stack", "atoi": "hides errors", "atol": "hides errors",
    "atof": "hides errors", "rand": "use base/random", "srand": "use base/random",
    "tmpnam": "races", "mktemp": "races", "setjmp": "hides control flow",
    "longjmp": "hides control flow", "gmtime": "static buffer: use gmtime_r",
    "localtime": "static buffer, local zone", "asctime": "static buffer", "ctime": "static buffer",
}
ALLOCATORS = {"malloc", "calloc", "realloc", "strdup", "strndup", "asprintf", "vasprintf"}

FILE_MAX = 800
FILE_EXCEPTIONS = {"storage/sqlite.c"}
FUNCTION_MAX = 70
LINE_MAX = 100  # code; comments and literals may go on to COMMENT_LINE_MAX
COMMENT_LINE_MAX = 120
TEST_LINE_MAX = 160  # tables of cases stay one case a line
# Manifests hold URLs and expressions that cannot be broken.
TEXT_LINE_MAX = {".md": 0, ".svg": 0, ".html": 120, ".css": 0, ".js": 120, ".yaml": 160, ".yml": 160}

EM_DASH = "\u2014"
# Spelled in halves so that this file passes its own rule.
UNFINISHED = re.compile(r"\b(" + "|".join(["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"]) + r")\b")
SPDX = "SPDX-License-Identifier: " + "Apache-2.0"

SOURCE = (".c", ".h")
HEADED = (".c", ".h", ".sh", ".py", ".js", ".mjs", ".css", ".mk")


def files_of_project():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if name and os.path.isfile(os.path.join(ROOT, name))]


def strip_comments_and_strings(text):
    """The same text with comments and literals blanked, line breaks kept."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


def check_includes(name, text, report):
    layer = name.split("/")[0]
    for number, line in enumerate(text.split("\n"), 1):
        found = re.match(r'\s*#\s*include\s+([<"])([^>"]+)[>"]', line)
        if not found:
            continue
        target = found.group(2)
        if target in LIBRARIES:
            allowed = LIBRARIES[target].fullmatch(name)
            if name.endswith(".h") and not name.startswith("tests/"):
                rule = LIBRARY_IN_HEADER.get(target)
                allowed = rule and rule.fullmatch(name)
            if not allowed:
                report(number, f"<{target}> may not be included here")
        if found.group(1) != '"' or layer not in LAYERS:
            continue
        other = target.split("/")[0]
        if other not in LAYERS:
            report(number, f'"{target}": includes of our own start at the root of the tree')
        elif other != layer and other not in BELOW[layer]:
            report(number, f"{layer} may not include {target}: includes only point down")
        elif other not in (layer, "base") and target not in PUBLIC:
            report(number, f"{target} is private to {other}")


def check_calls(name, code, report):
    if name.startswith("tests/"):
        return
    for number, line in enumerate(code.split("\n"), 1):
        for call in re.finditer(r"(?<![\w.>])(\w+)\s*\(", line):
            word = call.group(1)
            if word in BANNED:
                report(number, f"{word}() is banned: {BANNED[word]}")
            elif word in ALLOCATORS and name != "base/memory.c":
                report(number, f"{word}(): all allocation goes through base/memory")
            elif word in ("exit", "_exit") and name.split("/")[0] != "server":
                report(number, f"{word}() in a library")


# What a token may not see: handlers look for series through api/view.h. group.c trains on all of them.
VIEWED = re.compile(r"\bstorage_series_(find|list)\s*\(")
VIEWERS = {"api/view.c", "api/group.c"}


def check_view(name, code, report):
    if not name.startswith("api/") or name in VIEWERS:
        return
    for number, line in enumerate(code.split("\n"), 1):
        found = VIEWED.search(line)
        if found:
            report(number, f"storage_series_{found.group(1)}() sees everything: use view_{found.group(1)}()")


# Which comparison may end early, at the first byte that differs: none with a hash of a token in it.
EARLY = re.compile(r"\b(?:memcmp|strn?cmp|strn?casecmp)\s*\([^;]*\bhash\b")


def check_secrets(name, code, report):
    if name not in ("base/token.c", "server/token_file.c"):
        return
    for number, line in enumerate(code.split("\n"), 1):
        if EARLY.search(line):
            report(number, "a hash of a token is compared by hash_equal(), in constant time")


# What makes markup or code of a text: names of series are strangers' texts.
MARKUP = re.compile(r"\b(innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|document\.write|eval|new Function)\b")


def check_page(name, text, report):
    for number, line in enumerate(text.split("\n"), 1):
        found = MARKUP.search(line)
        if found:
            report(number, f"{found.group(1)} makes markup or code of a text: use dom.js, whose texts are text")


QUERY = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE|DROP|ATTACH)\b.*%[^%w]|%[^%w].*\b(SELECT|INSERT|FROM|WHERE)\b", re.S)


def check_queries(name, text, report):
    """SQL is never put together: values are bound, and a name of a table is quoted by %w."""
    if not name.startswith("storage/"):
        return
    for found in re.finditer(r'(?:"(?:\\.|[^"\\\n])*"\s*)+', text):
        if QUERY.search(found.group(0)):
            report(text.count("\n", 0, found.start()) + 1, "a query that is put together: bind its values")


PRODUCT = re.compile(r"\bmem_alloc(?:_aligned)?\(([^;]*?)\);", re.S)


def check_products(name, code, report):
    """A product of sizes may overflow: mem_array and mem_zeroed look, mem_alloc cannot."""
    if name.startswith("tests/"):
        return
    for found in PRODUCT.finditer(code):
        if " * " in found.group(1):
            report(code.count("\n", 0, found.start()) + 1, "a product in mem_alloc(): use mem_array()")


def check_functions(name, lines, report):
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            length = number - start - 1
            if length > FUNCTION_MAX and not name.startswith("tests/"):
                report(start, f"function of {length} lines (at most {FUNCTION_MAX})")
            start = None


def check_head(lines, report):
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    first = lines[0].strip() if lines else ""
    if not first.startswith(("/*", "//", "#", '"""')) or len(first) < 12:
        report(1, "the first line says what the file is, in a comment")
    if not any(SPDX in line for line in lines[:4]):
        report(1, f"no '{SPDX}' near the top")


def line_max(name, kind):
    if name.startswith("tests/"):
        return TEST_LINE_MAX
    if name == "Makefile":
        return 160
    return TEXT_LINE_MAX.get(kind, LINE_MAX)


def check_lines(name, lines, report):
    kind = os.path.splitext(name)[1]
    maximum = line_max(name, kind)
    code = strip_comments_and_strings("\n".join(lines)).split("\n") if kind in SOURCE else lines
    for number, line in enumerate(lines, 1):
        if EM_DASH in line:
            report(number, "em dash: use a comma, a colon or two sentences")
        if UNFINISHED.search(line):
            report(number, "unfinished place: finish it, or open an issue and say so in words")
        if line != line.rstrip():
            report(number, "blank at the end of the line")
        comment = kind in SOURCE and len(code[number - 1].rstrip()) <= LINE_MAX
        if maximum and len(line) > (max(maximum, COMMENT_LINE_MAX) if comment else maximum):
            report(number, f"line of {len(line)} columns (at most {maximum})")
        if kind in SOURCE and "\t" in line:
            report(number, "tab")


def check_file(name):
    findings = []

    def report(number, what):
        findings.append(f"{name}:{number}: {what}")

    with open(os.path.join(ROOT, name), "rb") as file:
        raw = file.read()
    if b"\0" in raw[:4096] or raw[:2] == b"\x1f\x8b":
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return [f"{name}:1: not UTF-8"]
    if not text:
        return None
    lines = text.split("\n")
    if lines[-1] != "":
        report(len(lines), "no line end at the end of the file")
    lines = lines[:-1]
    check_lines(name, lines, report)
    if name.endswith(HEADED) or name == "Makefile" or name == ".ci/run":
        check_head(lines, report)
    if name.startswith("api/ui/"):
        check_page(name, text, report)
    if name.endswith(SOURCE):
        if len(lines) > FILE_MAX and name not in FILE_EXCEPTIONS:
            report(1, f"{len(lines)} lines (at most {FILE_MAX})")
        check_includes(name, text, report)
        check_calls(name, strip_comments_and_strings(text), report)
        check_products(name, strip_comments_and_strings(text), report)
        check_queries(name, text, report)
        check_secrets(name, strip_comments_and_strings(text), report)
        check_view(name, strip_comments_and_strings(text), report)
        check_functions(name, lines, report)
    return findings


def check_error_codes():
    """The codes of api/problem.c are those that docs/errors.md lists."""
    with open(os.path.join(ROOT, "api/problem.c"), encoding="utf-8") as file:
        table = file.read().split("codes[] = {", 1)[1].split("\n};", 1)[0]
    with open(os.path.join(ROOT, "docs/errors.md"), encoding="utf-8") as file:
        listed = dict(re.findall(r"^\| `([a-z_0-9]+)` \| (\d+) ", file.read(), re.M))
    built = dict(re.findall(r'\{"([a-z_0-9]+)",\s*(\d+),', table))
    return [f"docs/errors.md:1: '{code}' is {built.get(code, 'not')} in api/problem.c and "
            f"{listed.get(code, 'not')} here"
            for code in sorted(set(built) | set(listed)) if built.get(code) != listed.get(code)]


def skipped(name):
    """Data, what others wrote, and what the binary prints: not ours to shape."""
    return name == "deploy/forecastd.yaml" or name.startswith(("api/ui/vendor/", "tests/fuzz/corpus/", "tests/fuzz/regression/")) \
        or name.endswith((".png", ".gz", ".safetensors", ".csv", ".json", ".bin")) \
        or name == "LICENSE"


def main():
    names = [os.path.relpath(os.path.abspath(name), ROOT) for name in sys.argv[1:]] \
        or files_of_project()
    passed = failed = 0
    for name in sorted(names):
        if skipped(name):
            continue
        findings = check_file(name)
        if findings is None:
            continue
        for line in findings:
            print(line)
        passed += not findings
        failed += bool(findings)
    if len(sys.argv) == 1:
        findings = check_error_codes()
        print("\n".join(findings), end="\n" if findings else "")
        passed += not findings
        failed += bool(findings)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
