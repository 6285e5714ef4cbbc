"""Files from outside: nothing in them is executed, and none takes more room than it has."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import stat
import zipfile
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from nibabel.cifti2.cifti2_axes import LabelAxis

from fmmtc_bidsapp.bidsio.atlases.atlas import resolve_atlas
from fmmtc_bidsapp.bidsio.files.images import open_image
from fmmtc_bidsapp.bidsio.files.plain_yaml import read_plain_yaml
from fmmtc_bidsapp.bidsio.tables.strategy import read_strategy
from fmmtc_bidsapp.engine import make_folder, workspace
from fmmtc_bidsapp.engine.arrays import load_arrays, load_shared
from fmmtc_bidsapp.engine.plugins import read_plugin
from fmmtc_bidsapp.errors import InputError, ModelFileError, OutputError, UsageError
from fmmtc_bidsapp.group.bundle.read import read_bundle
from fmmtc_bidsapp.models.checkpoint import check_tensors, load_tensors
from fmmtc_bidsapp.models.encoders.brainlm.model import BrainLM
from fmmtc_bidsapp.models.encoders.brainlm.size import BrainLMSize
from fmmtc_bidsapp.plan import Resources
from fmmtc_bidsapp.signals.parcellation.grayordinates import open_cifti
from fmmtc_bidsapp.signals.parcellation.volumes import read_info
from fmmtc_bidsapp.signals.parcellation.warp import read_transform

CONFIG = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "conv_kernel_size": 3,
    "timepoint_patching_size": 2,
    "num_timepoints_per_voxel": 4,
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "hidden_act": "gelu",
    "num_landmarks": 64,
    "segment_means_seq_len": 64,
}


class _Bomb:
    """What makes a folder when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.made),)


@pytest.fixture
def bomb(tmp_path: Path) -> _Bomb:
    return _Bomb(tmp_path / "executed")


def _weights(folder: Path, content: bytes) -> Path:
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "pytorch_model.bin").write_bytes(content)
    return folder


def test_a_pickle_that_lies_at_the_weights_place_is_not_executed(
    tmp_path: Path, bomb: _Bomb
) -> None:
    packed = io.BytesIO()
    torch.save({"vit.embeddings.cls_token": bomb}, packed)
    for content in (pickle.dumps(bomb), packed.getvalue()):
        with pytest.raises(ModelFileError):
            BrainLM.from_pretrained(_weights(tmp_path, content))
    assert not bomb.made.exists()


def test_a_pickle_in_place_of_tensors_or_arrays_is_not_executed(
    tmp_path: Path, bomb: _Bomb
) -> None:
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(ModelFileError):
        load_tensors(path, {})
    array = np.empty(1, dtype=object)
    array[0] = bomb
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=True)
    for load in (load_arrays, np.load):
        with pytest.raises(ValueError, match="allow_pickle"):
            load(path)
    shared = tmp_path / "shared.json"
    shared.write_text(json.dumps({"arrays": {"x": "file"}, "about": {}}))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_shared(shared)
    assert not bomb.made.exists()


def test_a_bundle_of_pickles_is_not_executed(tmp_path: Path, bomb: _Bomb) -> None:
    names = ("config.json", "model.safetensors", "preprocessing.json", "calibration.json")
    for name in names:
        (tmp_path / name).write_bytes(pickle.dumps(bomb))
    with pytest.raises(ModelFileError):
        read_bundle(tmp_path)
    assert not bomb.made.exists()


def test_a_bundle_of_lists_within_lists_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.mkdir [{}]", "a: !!python/name:os.mkdir"]
)
def test_yaml_that_asks_for_a_call_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.yml"
    path.write_text(text.format(tmp_path / "executed"))
    with pytest.raises(UsageError):
        read_strategy(str(path))
    with pytest.raises(UsageError):
        read_plugin(Resources(tmp_path, plugin_file=path))
    assert not (tmp_path / "executed").exists()


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


def test_yaml_whose_references_stand_for_billions_of_values_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    path.write_text(LAUGHS)
    with pytest.raises(yaml.YAMLError, match="is a reference"):
        read_plain_yaml(path)
    with pytest.raises(UsageError, match="is a reference"):
        read_strategy(str(path))
    with pytest.raises(UsageError, match="is a reference"):
        read_plugin(Resources(tmp_path, plugin_file=path))


def test_yaml_larger_than_anybody_writes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file.yml"
    path.write_text("#" * 1_000_001)
    with pytest.raises(UsageError, match="at most 1000000 are read"):
        read_strategy(str(path))


def test_weights_that_are_a_compressed_zip_are_refused_before_they_are_unpacked(
    tmp_path: Path,
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    assert len(packed.getvalue()) < 100_000
    with pytest.raises(ModelFileError, match="it is compressed"):
        BrainLM.from_pretrained(_weights(tmp_path, packed.getvalue()))


def test_a_tensor_that_stands_for_more_than_its_file_is_not_unfolded(tmp_path: Path) -> None:
    # One number, seen 10 to the 15 times.
    huge = torch.zeros(1).expand(10**15)
    with pytest.raises(ModelFileError, match="misshaped"):
        check_tensors(tmp_path, {"a": huge}, {"a": (1,)})


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "intermediate_size"])
def test_a_configuration_of_a_network_without_end_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {name: 2 * 10**9}))
    with pytest.raises(ModelFileError, match="No size of BrainLM is above"):
        BrainLMSize.from_json(tmp_path / "config.json")


def _header(offset: float) -> bytes:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    content[108:112] = np.float32(offset).tobytes()
    # There are extensions, the first as long as what stands before the data.
    content[348:352] = b"\x01\0\0\0"
    content[352:360] = np.array([int(offset) - 352 - 16, 6], np.int32).tobytes()
    return bytes(content)


def test_an_image_whose_header_is_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "atlas-bomb_dseg.nii.gz"
    offset = 2**27
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(_header(offset))
        for _ in range(offset // 2**20):
            file.write(bytes(2**20))
    path.with_name("atlas-bomb_dseg.tsv").write_text("index\tname\n1\ta\n")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match="data begin at byte"):
        read_info(path)
    with pytest.raises(ValueError, match="data begin at byte"):
        open_image(path)
    with pytest.raises(InputError, match="data begin at byte"):
        resolve_atlas(str(path))


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_an_image_that_promises_more_than_its_file_can_hold_gets_no_room(
    tmp_path: Path, name: str
) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((20_000, 20_000, 20_000))
    header.set_data_dtype(np.float64)
    header.set_sform(np.eye(4), code="mni")
    header["vox_offset"] = 352
    content = header.binaryblock + bytes(4) + bytes(1000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ValueError, match="promises 64000000000000 bytes"):
        open_image(tmp_path / name)
    with pytest.raises(InputError, match="truncated"):
        read_info(tmp_path / name)


@pytest.mark.parametrize("chunks", [None, (2**20,)])
def test_a_transform_that_stands_for_more_than_its_file_gets_no_room(
    tmp_path: Path, chunks: tuple[int, ...] | None
) -> None:
    path = tmp_path / "xfm.h5"
    with h5py.File(path, "w") as file:
        file["TransformGroup/0/TransformType"] = ["DisplacementFieldTransform_double_3_3"]
        file["TransformGroup/0/TransformFixedParameters"] = np.zeros(18)
        name = "TransformGroup/0/TransformParameters"
        file.create_dataset(name, (10**13,), np.float64, chunks=chunks)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match="promises 80000000000000 bytes"):
        read_transform(path)


def test_a_cifti_header_whose_entities_stand_for_billions_is_refused(tmp_path: Path) -> None:
    entities = "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">'
        for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    header = f"""<?xml version="1.0"?><!DOCTYPE CIFTI [<!ENTITY a "xxxxxxxxxx">{entities}]>
<CIFTI Version="2"><Matrix><MetaData><MD><Name>x</Name><Value>&j;</Value></MD></MetaData>
</Matrix></CIFTI>"""
    image = nib.Nifti2Image(np.zeros((1, 1, 1, 1, 1, 2), np.float32), np.eye(4))
    image.header["intent_code"] = 3007
    image.header.extensions.append(nib.nifti1.Nifti1Extension(32, header.encode()))
    path = tmp_path / "atlas.dlabel.nii"
    path.write_bytes(image.to_bytes())
    with pytest.raises(InputError, match="amplification"):
        open_cifti(path, LabelAxis, "one map of labels is needed")


def test_images_of_either_kind_and_byte_order_are_opened_as_before(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        for order in "<>":
            header = kind.header_class(endianness=order)
            for name in ("image.nii", "image.nii.gz"):
                kind(data, np.eye(4), header).to_filename(tmp_path / name)
                opened = open_image(tmp_path / name)
                assert np.array_equal(np.asanyarray(opened.dataobj), data)
                assert read_info(tmp_path / name).shape == data.shape


def test_the_work_directory_is_private(tmp_path: Path) -> None:
    # nipype keeps pickled objects, and the environment, in it.
    folder = tmp_path / "work" / "key"
    before = os.umask(0)
    try:
        make_folder(folder)
    finally:
        os.umask(before)
    for made in (folder, folder.parent):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_work_directory_that_others_may_write_to_is_made_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    make_folder(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


def test_a_work_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tmp_path.stat().st_uid
    if owner == 0:
        os.chown(tmp_path, 4321, 4321)
    else:
        monkeypatch.setattr(workspace, "_owner_here", lambda _: owner + 1)
    with pytest.raises(OutputError, match="belongs to another user"):
        make_folder(tmp_path)
