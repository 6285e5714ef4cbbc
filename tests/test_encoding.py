"""Every text that the source opens says that it is UTF-8."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fmmtc_bidsapp

PACKAGE = Path(fmmtc_bidsapp.__file__).parent
OPENERS = {"open", "read_text", "write_text", "fdopen"}
PROCESSES = {"run", "Popen", "check_output"}


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str, bool]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            is_method = isinstance(node.func, ast.Attribute)
            name = node.func.attr if is_method else getattr(node.func, "id", "")
            yield node, name, is_method


def _is_binary(call: ast.Call) -> bool:
    texts = [each.value for each in ast.walk(call) if isinstance(each, ast.Constant)]
    return any(isinstance(each, str) and each in ("rb", "wb", "ab", "r+b", "w+b") for each in texts)


def _silent(tree: ast.AST) -> Iterator[int]:
    """Lines of calls that read or write text in whatever encoding the locale has."""
    for call, name, is_method in _calls(tree):
        keywords = {each.arg for each in call.keywords}
        if "encoding" in keywords:
            continue
        # Our own `write_text` is a function, Path's a method; `igzip.open` and os.open give bytes.
        owner = getattr(getattr(call.func, "value", None), "id", "")
        opens = name in OPENERS and (is_method or name != "write_text")
        if opens and not _is_binary(call) and owner not in ("os", "gzip", "igzip"):
            yield call.lineno
        if name in PROCESSES and keywords & {"text", "universal_newlines"}:
            yield call.lineno


def test_no_text_is_read_or_written_in_the_encoding_of_the_locale() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line in _silent(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_a_call_that_forgets_its_encoding_is_found() -> None:
    source = "open('a')\npath.read_text()\npath.open('rb')\nsubprocess.run([], text=True)\n"
    assert list(_silent(ast.parse(source))) == [1, 2, 4]
