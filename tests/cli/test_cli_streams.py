"""What leaves the command on its streams, and how it ends when they, or the system, end it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fmmtc_bidsapp.cli.main import main, run_guarded
from fmmtc_bidsapp.errors import UsageError


def run(body, *, before=(), env=None, **arguments):
    """Run a guarded command whose body is given, in a process of its own."""
    code = "\n".join(
        [
            "import os, sys",
            "from fmmtc_bidsapp.cli.main import run_guarded",
            "def command():",
            textwrap.indent(textwrap.dedent(body), "    "),
            "    return 0",
            "raise SystemExit(run_guarded('fmmtc', command))",
        ]
    )
    return subprocess.run(
        [*before, sys.executable, "-c", code], env={**os.environ, **(env or {})}, **arguments
    )


def test_nothing_that_acts_on_a_terminal_is_printed(capsys):
    def command():
        print("\x1b[2Jparcel\u202e", "\udcff")
        raise UsageError("no \x1b]0;title\x07 there")

    assert run_guarded("fmmtc", command) == 2
    printed = capsys.readouterr()
    assert printed.out == "\\u001b[2Jparcel\\u202e \\xff\n"
    assert printed.err == "fmmtc: no \\u001b]0;title\\u0007 there\n"


def test_standard_output_is_given_back_as_it_was():
    before = sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)
    run_guarded("fmmtc", lambda: 0)
    assert (sys.stdout, sys.stderr, signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_is_printed_is_utf8_whatever_python_was_told(encoding):
    done = run("print('Müller, Ω')", env={"PYTHONIOENCODING": encoding}, capture_output=True)
    assert (done.returncode, done.stdout.decode()) == (0, "Müller, Ω\n")


def test_a_reader_that_closes_the_pipe_ends_the_command_quietly():
    read, write = os.pipe()
    os.close(read)
    done = run(
        "for _ in range(10000): print('a line')", stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("body", ["print('one line')", "[print('a line') for _ in range(10000)]"])
def test_a_full_standard_output_is_told_and_ends_with_73(body):
    with Path("/dev/full").open("w") as full:
        done = run(body, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 73
    assert "Cannot write to standard output (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_help_on_a_full_standard_output_ends_with_73():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "fmmtc_bidsapp", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 73
    assert "Traceback" not in done.stderr


def test_closed_streams_are_no_error_and_nothing_is_printed_into_a_file(tmp_path):
    file = tmp_path / "results.tsv"
    done = run(
        f"""
        with open({str(file)!r}, "w") as results:
            print("a line", flush=True)
            print("another", file=sys.stderr, flush=True)
            os.write(1, b"from a library")
            results.write("results")
        """,
        before=["/bin/sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-'],
    )
    assert (done.returncode, file.read_text()) == (0, "results")


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGTERM, 143, "ended by the system"), (signal.SIGHUP, 129, "the terminal is gone")],
)
def test_a_signal_of_the_system_ends_with_its_code_one_line_and_no_process_left(
    number, code, words
):
    done = run(
        f"""
        import multiprocessing, time
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        print(child.pid, flush=True)
        os.kill(os.getpid(), {int(number)})
        time.sleep(60)
        """,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert words in line
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_a_signal_that_was_to_be_ignored_stays_ignored():
    done = run(
        "os.kill(os.getpid(), 1)\nprint('went on')",
        before=["nohup"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "went on\n")


FOREIGN = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.slow
def test_a_locale_that_is_not_utf8_changes_nothing(tmp_path):
    folder = tmp_path / "Größe Ω"
    command = [sys.executable, "-m", "fmmtc_bidsapp", str(folder), str(tmp_path / "out")]
    done = [
        subprocess.run(
            [*command, "participant"], env={**os.environ, **env}, capture_output=True, check=False
        )
        for env in ({}, FOREIGN)
    ]
    assert done[0].returncode == done[1].returncode == 2
    assert done[0].stderr == done[1].stderr
    assert "Folder not found" in done[1].stderr.decode()
    assert "Größe Ω" in done[1].stderr.decode()


@pytest.mark.parametrize("place", ["bids_dir", "output_dir", "work_dir"])
def test_a_path_that_is_no_utf8_is_refused_at_the_start(place, tmp_path, capsys):
    paths = {each: str(tmp_path / each) for each in ("bids_dir", "output_dir", "work_dir")}
    paths[place] += os.fsdecode(b"\xe4")
    words = [paths["bids_dir"], paths["output_dir"], "participant", "-w", paths["work_dir"]]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"{place}\\xe4 contains bytes that are not UTF-8" in told


def test_a_stream_of_another_kind_is_written_to_as_it_is(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_guarded("fmmtc", lambda: print("a") or 0) == 0
    assert stream.getvalue() == "a\n"


@pytest.mark.parametrize(("level", "flag"), [("participant", "--desc"), ("group", "--label")])
def test_a_label_that_leaves_no_room_in_names_of_files_is_wrong_use(level, flag, tmp_path, capsys):
    words = [str(tmp_path), str(tmp_path / "out"), level, flag, "x" * 200, "--analysis", "qc"]
    assert main(words if level == "group" else words[:-2]) == 2
    assert f"{flag} has 200 characters; names of files have room for 100" in capsys.readouterr().err
