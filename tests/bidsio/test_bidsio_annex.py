import pytest

from fmmtc_bidsapp.bidsio.files.annex import content_problem

KEY = "MD5E-s39411--88fd1ed0000000000000000000000000.nii.gz"


def test_a_real_file_has_no_problem(tmp_path):
    (tmp_path / "a").write_bytes(b"\x1f\x8b content")
    assert content_problem(tmp_path / "a") is None


def test_a_dangling_annex_link_says_which_command_fetches_it(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.symlink_to(f"../.git/annex/objects/7J/MX/{KEY}/{KEY}")
    assert content_problem(path) == f"not fetched: run `datalad get {path}`"


@pytest.mark.parametrize("text", [f"/annex/objects/{KEY}\n", f"WORM-s1-m2--{KEY}", KEY])
def test_an_unlocked_annex_pointer_says_which_command_fetches_it(tmp_path, text):
    path = tmp_path / "a.nii.gz"
    path.write_text(text)
    assert content_problem(path) == f"not fetched: run `datalad get {path}`"


def test_a_link_that_was_copied_as_text_says_which_command_fetches_it(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text(f"../../.git/annex/objects/7J/MX/{KEY}/{KEY}")
    assert content_problem(path) == f"not fetched: run `datalad get {path}`"


def test_a_sidecar_that_names_an_annexed_file_has_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(f'{{"Sources": ["/data/.git/annex/objects/7J/MX/{KEY}/{KEY}"]}}')
    assert content_problem(path) is None


def test_other_emptiness_is_named(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "link").symlink_to("nowhere")
    assert content_problem(tmp_path / "empty").startswith("empty")
    assert content_problem(tmp_path / "link").startswith("a broken link")
    assert content_problem(tmp_path / "absent").startswith("missing")
