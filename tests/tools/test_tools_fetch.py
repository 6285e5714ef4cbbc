"""Fetching what is not ours to ship: licence first, then the same files for ever."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hub import Hub, serving

from fmmtc_bidsapp.bidsio.atlases import templates
from fmmtc_bidsapp.cli.tools import main
from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.models.checksums import check_received, read_received
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.models.encoders.registry import build_encoder
from fmmtc_bidsapp.options import ModelOptions

COMMIT, OTHER = "0123456789abcdef" * 2 + "01234567", "f" * 40
CONTENTS = {"config.json": b'{"hidden_size": 256}', "pytorch_model.bin": b"weights" * 1000}
FETCH = ["fetch", "brainlm", "--revision", COMMIT, "--accept-license"]


def _path(name: str, commit: str = COMMIT) -> str:
    return f"/vandijklab/brainlm/resolve/{commit}/old_13M/{name}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FMMTC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "brainlm" / "old_13M"


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as found:
        found.files |= {_path(name): content for name, content in CONTENTS.items()}
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the hub's client from the cache and the token of whoever runs the tests."""
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    # Set by the command, but read by the library when it is first imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    # It waits 23 s in all before it gives a host up.
    unhurried = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", unhurried)


def test_the_licence_is_shown_and_must_be_accepted(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "brainlm", "--revision", COMMIT]) == 2
    told = capsys.readouterr().err
    assert "CC BY-NC-ND 4.0" in told
    assert "forbids commercial use and passing on changed or converted copies" in told
    assert "--accept-license" in told
    assert hub.asked == []
    assert not folder.exists()


def test_the_weights_come_from_the_named_commit_and_are_recorded(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(FETCH) == 0
    assert {name: (folder / name).read_bytes() for name in CONTENTS} == CONTENTS
    record = json.loads((folder / "received.json").read_text())
    assert record["revision"] == COMMIT
    assert record["licence"] == "CC BY-NC-ND 4.0"
    assert record["sha256"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()
    }
    assert {path.name for path in folder.iterdir()} == {*CONTENTS, "received.json"}
    assert f"brainlm: {folder / 'pytorch_model.bin'}" in capsys.readouterr().out


@pytest.mark.parametrize("revision", [[], ["--revision", "main"], ["--revision", COMMIT[:7]]])
def test_only_a_whole_commit_names_the_same_files_for_everyone(
    hub: Hub, revision: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "brainlm", "--accept-license", *revision]) == 2
    assert "https://huggingface.co/vandijklab/brainlm/commits/main" in capsys.readouterr().err
    assert hub.asked == []


def test_what_is_there_is_not_fetched_again_and_needs_no_revision(hub: Hub) -> None:
    assert main(FETCH) == 0
    hub.asked.clear()
    assert main(["fetch", "brainlm", "--accept-license"]) == 0
    assert hub.asked == []


def test_of_several_at_once_one_fetches_and_all_end_well(hub: Hub, folder: Path) -> None:
    # Long enough for all to have begun.
    hub.pause_s = 1.5
    code = "import sys; from fmmtc_bidsapp.cli.tools import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *FETCH]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], told
    assert len(hub.asked) == len(CONTENTS)
    assert {path.name for path in folder.iterdir()} == {*CONTENTS, "received.json"}


def test_another_commit_needs_the_first_to_be_deleted(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(FETCH) == 0
    assert main(["fetch", "brainlm", "--revision", OTHER, "--accept-license"]) == 2
    assert COMMIT in capsys.readouterr().err


def test_a_damaged_file_is_fetched_again_and_must_be_the_first_one(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(FETCH) == 0
    weights = folder / "pytorch_model.bin"
    weights.write_bytes(b"damaged")
    assert main(FETCH) == 0
    assert weights.read_bytes() == CONTENTS["pytorch_model.bin"]
    weights.write_bytes(b"damaged")
    hub.files[_path("pytorch_model.bin")] = b"exchanged by someone"
    assert main(FETCH) == 69
    told = capsys.readouterr().err
    digest = hashlib.sha256(b"exchanged by someone").hexdigest()
    assert f"sha256 mismatch: got {digest}, expected" in told
    assert weights.read_bytes() == b"damaged"


def test_the_encoder_refuses_weights_that_are_not_those_of_the_record(
    hub: Hub, folder: Path
) -> None:
    assert main(FETCH) == 0
    (folder / "pytorch_model.bin").write_bytes(b"exchanged by someone")
    with pytest.raises(ModelFileError, match="sha256 mismatch: got"):
        build_encoder(ModelOptions(), folder, seed=0)


def test_files_that_a_user_put_there_have_no_record_to_be_held_to(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert check_received(tmp_path) is None


SOUND = {"source": "", "revision": "", "licence": "", "sha256": {}}
DAMAGED = [
    *({"revision": None}, {"revision": 1}, {"source": 1}, {"licence": []}),
    *({"sha256": 1}, {"sha256": []}, {"sha256": {"a": None}}),
]


@pytest.mark.parametrize(
    "text", ["[", "[]", "{}", *(json.dumps(SOUND | changes) for changes in DAMAGED)]
)
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "received.json").write_text(text)
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_received(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b"])
def test_a_record_names_no_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    record = {"source": "", "revision": "", "licence": "", "sha256": {name: "0"}}
    (tmp_path / "received.json").write_text(json.dumps(record))
    with pytest.raises(ModelFileError, match="outside its folder"):
        check_received(tmp_path)


def test_without_a_network_one_line_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing listens there.
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert main(FETCH) == 69
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("fmmtc-tools: Cannot fetch config.json of BrainLM (127.0.0.1: no conn")
    for word in (COMMIT, str(folder), "--accept-license", "--encoder-weights"):
        assert word in told


@pytest.mark.parametrize(
    "proxy", ["http://me:hunter2@127.0.0.1:9", "http://me:hunter2@", "http://me:hunter2@[bad"]
)
def test_neither_a_token_nor_the_password_of_a_proxy_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], proxy: str
) -> None:
    from huggingface_hub import close_session

    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "http://fmmtc.invalid")
    close_session()
    assert main(FETCH) == 69
    close_session()
    told = "".join(capfd.readouterr())
    assert "fmmtc.invalid" in told
    assert "hunter2" not in told
    assert "hf_secret" not in told


def test_the_hubs_own_token_is_sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(FETCH) == 0
    assert set(hub.authorization) == {"Bearer hf_secret"}


def test_the_hubs_offline_mode_is_kept(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import close_session

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    close_session()
    assert main(FETCH) == 69
    close_session()
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
    assert hub.asked == []


def test_a_commit_without_the_files_is_told(
    hub: Hub, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert main(["fetch", "brainlm", "--revision", OTHER, "--accept-license"]) == 69
    assert "127.0.0.1 answers 404" in capsys.readouterr().err
    del hub.files[_path("config.json")]
    assert main(FETCH) == 69
    assert "127.0.0.1 has no old_13M/config.json at that commit" in capsys.readouterr().err
    assert not (folder / "pytorch_model.bin").exists()
    assert not (folder / "received.json").exists()


def test_a_connection_that_breaks_off_is_resumed(hub: Hub, folder: Path) -> None:
    path, large = _path("pytorch_model.bin"), bytes(range(256)) * 48_000
    hub.files[path] = large
    hub.breaks_off[path] = [11_000_000, len(large)]
    assert main(FETCH) == 0
    assert (folder / "pytorch_model.bin").read_bytes() == large
    ranges = [wanted for asked, wanted in hub.asked if asked == path]
    assert len(ranges) == 2
    assert ranges[1] is not None
    assert int(ranges[1].removeprefix("bytes=").rstrip("-")) > 0


def test_from_pretrained_takes_a_revision_of_the_hub_and_afterwards_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM

    size = BrainLMSize(hidden_size=16, num_hidden_layers=1, intermediate_size=8)
    made = BrainLM.from_size(size, torch.Generator().manual_seed(0))
    made.save_pretrained(tmp_path / "made")
    with serving() as hub:
        for path in (tmp_path / "made").iterdir():
            hub.files[_path(path.name)] = path.read_bytes()
        hub.files[_path("modeling.py")] = b"raise RuntimeError"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        arguments = {"subfolder": "old_13M", "revision": COMMIT}
        first = BrainLM.from_pretrained("vandijklab/brainlm", **arguments)
        assert not any("modeling.py" in path for path, _ in hub.asked)
    again = BrainLM.from_pretrained("vandijklab/brainlm", **arguments, local_files_only=True)
    for name, expected in made.state_dict().items():
        assert torch.equal(first.state_dict()[name], expected)
        assert torch.equal(again.state_dict()[name], expected)


def test_a_cache_that_cannot_be_written_ends_with_73(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.parent.parent.mkdir()
    folder.parent.write_text("a file where a folder is needed")
    assert main(FETCH) == 73
    assert "FMMTC_CACHE_DIR" in capsys.readouterr().err


def test_a_damaged_record_ends_with_65(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "received.json").write_text(json.dumps(SOUND | {"revision": None}))
    assert main(["fetch", "brainlm", "--accept-license"]) == 65
    assert "received.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["atlas", "templates"])
def test_a_revision_is_pinned_where_it_is_not_the_users(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", what, "--revision", COMMIT]) == 2
    assert "--revision has no meaning" in capsys.readouterr().err


def test_templates_must_stay_those_that_came_first(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "templateflow"))
    with serving() as hub:
        monkeypatch.setattr(templates, "SOURCE", hub.url)
        home = tmp_path / "templateflow"
        paths = templates.links_of_templates()
        hub.files |= {f"/{path.relative_to(home)}": path.name.encode() for path in paths}
        assert main(["fetch", "templates"]) == 0
        assert all(path.read_bytes() == path.name.encode() for path in paths)
        assert list((tmp_path / "cache" / "templates").iterdir())
        paths[0].write_bytes(b"exchanged by someone")
        assert main(["fetch", "templates"]) == 65
        assert str(paths[0]) in capsys.readouterr().err
        paths[0].unlink()
        assert main(["fetch", "templates"]) == 0
