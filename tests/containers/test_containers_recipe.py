"""The Dockerfile and Singularity.def are one recipe, and say the version of the program."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from fmmtc_bidsapp import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCKER_ONLY = {
    "mkdir -p /home/fmmtc",
    "find /cache /home/fmmtc -type d -exec chmod 1777 {} +",
}
"""Apptainer brings the user's own home, and its image cannot be written to."""
SINGULARITY_ONLY = {"rm -rf /src"}
"""The last stage of the Dockerfile never had it."""
DOCKER_VARIABLES = {"HOME", "MPLCONFIGDIR"}
"""There a home can be written to, and /tmp is everybody's."""


def _joined(text: str) -> list[str]:
    """Join continued lines; leave out comments and empty ones."""
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    lines = "\n".join(kept).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+", " ", line).strip() for line in lines if line.strip()]


def _docker() -> list[tuple[str, str]]:
    lines = _joined((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def _sections() -> dict[str, list[str]]:
    """Split Singularity.def; its header is the section without a name."""
    text = (ROOT / "Singularity.def").read_text(encoding="utf-8")
    # An argument is spelt as the Dockerfile spells it.
    text = re.sub(r"\{\{ (\w+) \}\}", r"${\1}", text)
    parts = re.split(r"^%(\w+)$", text, flags=re.M)
    names, bodies = ["", *parts[1::2]], parts[0::2]
    return {name: _joined(body) for name, body in zip(names, bodies, strict=True)}


DOCKER, SECTIONS = _docker(), _sections()


def _given(instruction: str) -> list[str]:
    return [rest for name, rest in DOCKER if name == instruction]


def _pairs(instruction: str) -> dict[str, str]:
    words = [word for rest in _given(instruction) for word in shlex.split(rest)]
    return dict(word.split("=", 1) for word in words)


def _exported(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        if line.startswith("export "):
            name, value = shlex.split(line)[1].split("=", 1)
            default = re.fullmatch(rf"\$\{{{name}:-(.*)\}}", value)
            yield name, default[1] if default else value


def _copied() -> dict[str, str]:
    found = {}
    for rest in _given("COPY"):
        *sources, target = rest.split()
        if not sources[0].startswith("--from"):
            found |= {
                source: target + source if target.endswith("/") else target for source in sources
            }
    return found


def test_both_take_the_same_steps_in_the_same_order() -> None:
    docker = [step for rest in _given("RUN") for step in rest.split(" && ")]
    post = [step for step in SECTIONS["post"] if not step.startswith("export ")]
    assert set(docker) >= DOCKER_ONLY
    assert set(post) >= SINGULARITY_ONLY
    shared = [step for step in docker if step not in DOCKER_ONLY]
    assert shared == [step for step in post if step not in SINGULARITY_ONLY]


def test_both_copy_the_same_files_and_the_build_may_see_them() -> None:
    copied = _copied()
    assert copied == dict(line.split() for line in SECTIONS["files"])
    seen = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert set(copied) == {line[1:] for line in seen if line.startswith("!")}
    assert all((ROOT / source).exists() for source in copied)


def test_both_set_the_same_variables() -> None:
    inside = _pairs("ENV")
    there = dict(_exported(SECTIONS["environment"])) | dict(_exported(SECTIONS["post"]))
    assert inside.keys() - there.keys() == DOCKER_VARIABLES
    assert {name: inside[name] for name in there} == there


def test_both_start_from_the_same_base_with_the_same_arguments() -> None:
    arguments = {}
    for rest in _given("ARG"):
        name, value = rest.split("=", 1)
        assert arguments.setdefault(name, value) == value, "stages disagree"
    theirs = dict(line.split("=", 1) for line in SECTIONS["arguments"])
    assert theirs.pop("BOOTSTRAP") == "docker"
    assert SECTIONS[""] == ["Bootstrap: ${BOOTSTRAP}", "From: ${BASE_IMAGE}"]
    assert arguments.pop("SOURCE") == '""'
    assert arguments == theirs


def test_both_have_the_same_labels() -> None:
    labels = _pairs("LABEL")
    assert labels.pop("org.opencontainers.image.source") == "${SOURCE}"
    assert labels == dict(line.split(" ", 1) for line in SECTIONS["labels"])


def test_both_run_the_command() -> None:
    assert _given("ENTRYPOINT") == ['["fmmtc"]']
    assert SECTIONS["runscript"] == ['exec fmmtc "$@"']
    assert not _given("CMD")


def test_the_last_user_is_not_root() -> None:
    assert _given("USER")[-1].split(":")[0] not in ("0", "root")


def test_the_version_is_the_programs() -> None:
    assert "ARG VERSION=" + __version__ in [" ".join(each) for each in DOCKER]


@pytest.mark.parametrize("word", ["A424", "brainlm", "--no-deps", "curl", "git+"])
def test_nothing_is_brought_in_that_has_a_licence_of_its_own_or_no_lock(word: str) -> None:
    text = " ".join(rest for name, rest in DOCKER if name in ("RUN", "COPY", "ADD"))
    assert word not in text
