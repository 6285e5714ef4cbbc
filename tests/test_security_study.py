"""Both levels on a study made to do harm, with passwords about and no network.

Names of columns, values, people, parcels, networks and regressors are markup; the environment
holds secrets; every look at a network is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from no_network import NETWORK, run_offline
from small_study import write_block_atlas

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.simulate.dataset import write_dataset
from fmmtc_bidsapp.simulate.options import SimulationOptions

pytestmark = pytest.mark.slow

SECRET = "hunter2"
SECRETS = {
    "HF_TOKEN": SECRET,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "HTTPS_PROXY": f"http://me:{SECRET}@proxy.invalid:3128",
    "https_proxy": f"http://me:{SECRET}@proxy.invalid:3128",
}
EVIL = "<x-evil onclick=\"alert(1)\" a='{{ 7 * 7 }}'>"
TARGET, ARM, AGE = (f"{name} {EVIL}" for name in ("target", "arm", "age"))
NOBODY = "sub-<script>alert(1)</script>"


@dataclass(frozen=True)
class Ran:
    """What two commands left."""

    out: Path
    work: Path
    text: str
    pages: Mapping[str, str]


class Elements(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def _write_atlas(folder: Path) -> Path:
    folder.mkdir()
    image = write_block_atlas(folder)
    (table_path,) = folder.glob("*.tsv")
    table = pd.read_csv(table_path, sep="\t")
    table["name"] = [f"{name} {EVIL}" for name in table["name"]]
    table["network"] = [f"{name} {EVIL}" for name in table["network"]]
    table.to_csv(table_path, sep="\t", index=False, quoting=3)
    return image


def _write_people(bids: Path) -> None:
    table = pd.read_csv(bids / "participants.tsv", sep="\t", dtype=str)
    n = len(table)
    table = pd.DataFrame(
        {
            "participant_id": table["participant_id"],
            TARGET: [f"{answer} {EVIL}" for answer in ["yes", "no"] * (n // 2)],
            ARM: [f"{arm} {EVIL}" for arm in ["drug", "drug", "placebo", "placebo"] * (n // 4)],
            AGE: [str(20 + (7 * i) % 30) for i in range(n)],
        }
    )
    table.loc[n] = [NOBODY, f"yes {EVIL}", f"drug {EVIL}", "30"]
    table.to_csv(bids / "participants.tsv", sep="\t", index=False, quoting=3)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("hostile")
    bids, out, work = (folder / name for name in ("bids", "out", "work"))
    atlas = _write_atlas(folder / "atlas")
    options = SimulationOptions(people=8, controls=0, volumes=60, seed=1)
    write_dataset(bids, options, resolve_atlas(str(atlas)), voxel_size_mm=6.0)
    _write_people(bids)
    participant = ["participant", "--atlas", atlas]
    group = [
        *("group", "--target", TARGET, "--positive-value", f"yes {EVIL}", "--subset-by", ARM),
        *("--covariates", AGE, "--encoder", "none", "--network", "ridge", "--folds", "2"),
        *("--inner-folds", "2", "--bootstrap", "50", "--permutations", "0", "--null-maps", "0"),
        *("--explain", "parcels", "--show-unsupported-maps"),
    ]
    told = ""
    for words in (participant, group):
        command = ["-m", "fmmtc_bidsapp", bids, out, *words, "-w", work]
        done = run_offline(command, folder / "home", **SECRETS)
        assert done.returncode == 0, done.stdout + done.stderr
        told += done.stdout + done.stderr
    pages = {path.name: path.read_text() for path in sorted(out.rglob("*.html"))}
    return Ran(out, work, told, pages)


def test_both_levels_run_without_a_network_and_look_for_none(ran: Ran) -> None:
    assert NETWORK not in ran.text


def test_no_name_of_the_study_becomes_an_element_of_a_page(ran: Ran) -> None:
    assert {"sub-01.html", "group_desc-fmmtc_report.html"} <= ran.pages.keys()
    for name, page in ran.pages.items():
        found = Elements(page)
        assert "x-evil" not in found.tags, name
        assert not [each for each, _ in found.attributes if each.startswith("on")], name
        links = [value for each, value in found.attributes if each in ("href", "src")]
        assert not [each for each in links if "script:" in each.lower()], name
        # The group report has one of its own.
        assert found.tags.count("script") == ("report" in name), name


def test_the_names_are_shown_as_they_are(ran: Ran) -> None:
    report = " ".join(Elements(ran.pages["group_desc-fmmtc_report.html"]).text.split())
    for name in (TARGET, f"yes {EVIL}", ARM, f"drug {EVIL}", AGE, NOBODY, f"Block01 {EVIL}"):
        assert name in report, name
    assert f"Net1 {EVIL}" in Elements(ran.pages["sub-01.html"]).text


def test_no_file_but_of_the_private_folder_and_no_message_holds_a_secret(ran: Ran) -> None:
    written = [path for path in ran.out.rglob("*") if path.is_file()]
    assert {"plan.toml", "dataset_description.json", "CITATION.md"} <= {p.name for p in written}
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    assert SECRET not in ran.text
    assert ran.work.stat().st_mode & 0o077 == 0


def test_nothing_was_written_outside_the_folders_that_were_named(ran: Ran) -> None:
    known = {"atlas", "bids", "home", "out", "work"}
    assert {path.name for path in ran.out.parent.iterdir()} == known
    assert {path.name for path in (ran.out.parent / "home").iterdir()} <= {
        *("sitecustomize.py", "__pycache__", ".nipype", ".cache", ".config", "matplotlib")
    }
