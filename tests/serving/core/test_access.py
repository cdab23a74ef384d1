"""Tokens: known or not, with the scope or not, and files of them that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tf_ssgn.errors import UserError
from tf_ssgn.serving.core.access import Access, Rate, read_tokens
from tf_ssgn.serving.core.faults import Fault

READER, WRITER = "r" * 20, "w" * 20


def code(access: Access, header: str | None, scope: str) -> str:
    try:
        access.check(header, scope)
    except Fault as fault:
        assert READER not in str(fault) and WRITER not in str(fault)
        return fault.code
    return "OK"


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_without_tokens_everybody_reads_and_nobody_writes() -> None:
    assert not Access().required
    assert code(Access(), None, "search") == "OK"
    assert code(Access(), f"Bearer {WRITER}", "write") == "PERMISSION_DENIED"


def test_scopes(tmp_path) -> None:
    access = Access(read_tokens(written(tmp_path, f"# who\n\n{READER} search\n{WRITER} search,write\n")))
    assert access.required
    for header, scope, expected in (
        (f"Bearer {READER}", "search", "OK"),
        (f"bearer  {WRITER} ", "write", "OK"),
        (f"Bearer {READER}", "write", "PERMISSION_DENIED"),
        (None, "search", "UNAUTHENTICATED"),
        ("", "search", "UNAUTHENTICATED"),
        ("Bearer ", "search", "UNAUTHENTICATED"),
        (READER, "search", "UNAUTHENTICATED"),
        (f"Basic {READER}", "search", "UNAUTHENTICATED"),
        (f"Bearer {READER}x", "search", "UNAUTHENTICATED"),
        (f"Bearer {READER[:-1]}", "search", "UNAUTHENTICATED"),
        ("Bearer \udcff", "search", "UNAUTHENTICATED"),
    ):
        assert code(access, header, scope) == expected, header


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_of_any_editor(tmp_path, mark: str, end: str) -> None:
    path = written(tmp_path, "")
    path.write_bytes(f"{mark}{READER} search{end}{end} {end}{WRITER} search{end}{WRITER}\twrite{end}".encode())
    assert read_tokens(path) == {READER: frozenset({"search"}), WRITER: frozenset({"search", "write"})}


def test_a_file_that_changes_is_read_again(tmp_path, capsys) -> None:
    path = written(tmp_path, f"{READER} search\n{WRITER} write\n")
    access = Access(file=path)
    access.look()
    assert capsys.readouterr().err == "", "nothing changed"
    written(tmp_path, f"# {READER} is gone\n{WRITER} search\n")
    assert code(access, f"Bearer {READER}", "search") == "OK", "not looked at yet"
    access.look()
    assert code(access, f"Bearer {READER}", "search") == "UNAUTHENTICATED"
    assert code(access, f"Bearer {WRITER}", "search") == "OK" and not access.allows("write")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(": 1") and WRITER not in line
    for text, mode in (("short search\n", 0o600), (f"{READER} search\n", 0o644)):
        written(tmp_path, text, mode)
        access.look()
        access.look()
        (line,) = capsys.readouterr().err.splitlines()
        assert "the old ones stay" in line
        assert code(access, f"Bearer {WRITER}", "search") == "OK"
    written(tmp_path, "# nobody\n", 0o600)
    access.look()
    assert code(access, f"Bearer {WRITER}", "search") == "UNAUTHENTICATED"
    assert code(access, None, "search") == "UNAUTHENTICATED", "no token is not a server without tokens"
    path.unlink()
    access.look()
    assert "cannot read" in capsys.readouterr().err and code(access, None, "search") == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (f"{READER} search", 0o644, "chmod 600"),
        ("short search", 0o600, "line 1.*5 characters"),
        (READER, 0o600, "line 1"),
        (f"{READER} search\n{WRITER} admin", 0o600, "line 2.*search, write"),
        ("# none\n", 0o600, "no token"),
        (f"{READER}\u200b search", 0o600, "line 1.*ASCII"),
        ("\0".join(f"{READER} search"), 0o600, "line 1"),
    ],
)
def test_files_that_are_refused(tmp_path, text: str, mode: int, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_tokens(written(tmp_path, text, mode))
    assert READER not in str(caught.value) and WRITER not in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        read_tokens(tmp_path / "nowhere")
    (tmp_path / "tokens").write_bytes(text.encode("utf-16"))
    (tmp_path / "tokens").chmod(0o600)
    with pytest.raises(UserError, match="not UTF-8"):
        read_tokens(tmp_path / "tokens")


def test_a_rate_for_each_client() -> None:
    now = [0.0]
    rate = Rate(5.0, lambda: now[0])

    def admitted(client: str, asked: int) -> int:
        count = 0
        for _ in range(asked):
            try:
                rate.check(client)
                count += 1
            except Fault as fault:
                assert fault.code == "RESOURCE_EXHAUSTED"
        return count

    assert admitted("a", 30) == 10, "two seconds' worth at once"
    assert admitted("b", 3) == 3
    now[0] = 1.0
    assert admitted("a", 30) == 5
    now[0] = 100.0
    assert admitted("a", 30) == 10
    for client in range(20_000):
        rate.check(str(client))
    assert len(rate._left) == 10_000
    Rate(0.0).check("anybody")


def test_guessing_is_as_slow_as_asking() -> None:
    access = Access({READER: frozenset({"search"})}, rate=1.0)
    codes = []
    for _ in range(5):
        with pytest.raises(Fault) as caught:
            access.admit("client", "Bearer guess", "search")
        codes.append(caught.value.code)
    assert codes == ["UNAUTHENTICATED"] * 2 + ["RESOURCE_EXHAUSTED"] * 3
