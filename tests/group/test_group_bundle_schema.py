"""A bundle that was changed and sealed anew is refused with the name of the field."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_group_bundle import LEVELS, PLAIN, examples, fit, write

from fmmtc_bidsapp.errors import ModelFileError
from fmmtc_bidsapp.group.bundle.read import load_bundle_model, load_connectivity_range, read_bundle
from fmmtc_bidsapp.group.bundle.validation_summary import Evidence
from fmmtc_bidsapp.learning.evaluation.external_validation import predict_new

JSON = ("config.json", "preprocessing.json", "calibration.json", "people.json")
NULLABLE = {
    *("negative_value", "positive_meaning", "negative_meaning", "connectivity_limit", "evidence"),
    *("auroc", "auroc_low", "auroc_high", "p_adjusted"),
    *("tr_s", "n_volumes", "mean_fd_mm", "dataset", "people", "atlas", "atlas_digest"),
    "coordinates_mm",
    *("random_digest", "encoder_weights", "resample_tr", "levels", "range", "codes"),
}
"""Fields that may be null without anything being wrong."""
EVIDENCE = Evidence(
    "not tested", "no shuffles", 0.6, 0.5, 0.7, None, 0, 12, 6, "0.5", (1,) * 20, (2,) * 20
)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write a bundle of each kind of model, without names in common."""
    made = {}
    for name in ("ridge-fc", "knn-fc", "xgboost-fc", "fc-logistic", "fmmtc", "bnt"):
        root = tmp_path_factory.mktemp(name)
        made[name] = write(root, [fit(name)], covariates=LEVELS, evidence=EVIDENCE)
    return made


def seal(folder: Path, contents: dict[str, Any]) -> None:
    """Write the files of a bundle with digests that fit, as whoever changes one can."""
    for name in JSON[1:]:
        (folder / name).write_text(render(contents[name]))
    config = dict(contents["config.json"])
    if isinstance(config.get("sha256"), dict):
        digests = {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in config["sha256"]
            if isinstance(name, str) and (folder / name).is_file()
        }
        config["sha256"] = {**config["sha256"], **digests}
    config.pop("seal", None)
    config["seal"] = hashlib.sha256(render(config).encode()).hexdigest()
    (folder / "config.json").write_text(render(config))


def render(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_all(folder: Path) -> dict[str, Any]:
    return {name: json.loads((folder / name).read_text()) for name in JSON}


def use(folder: Path) -> np.ndarray:
    """Do all that apply does with a bundle."""
    bundle = read_bundle(folder)
    load_connectivity_range(bundle)
    return predict_new(load_bundle_model(folder, PLAIN), examples()).logit


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Walk to every field; of a list to its first entry, as all are of one kind."""
    yield path
    if isinstance(value, dict):
        for name, each in value.items():
            yield from places(each, (*path, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*path, 0))


def put(content: Any, path: tuple, new: Any) -> Any:
    changed = copy.deepcopy(content)
    if not path:
        return new
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = new
    return changed


def wrong(found: Any) -> list[Any]:
    """List values of other kinds than the one that is there."""
    kinds: dict[type, Any] = {str: "x\x1b[0m", int: -(10**15), list: [[]], dict: {"x": 1}}
    own = [each for kind, each in kinds.items() if not isinstance(found, kind)]
    if isinstance(found, float):
        own.remove(kinds[int])
    whole = isinstance(found, int) and not isinstance(found, bool)
    return [*own, 1e300, *([True, 0.5] if whole else []), *([1] if isinstance(found, bool) else [])]


def test_the_bundles_are_read_as_they_are(bundles: dict[str, Path], tmp_path: Path) -> None:
    for name, bundle in bundles.items():
        folder = tmp_path / name
        shutil.copytree(bundle, folder)
        seal(folder, read_all(folder))
        assert np.isfinite(use(folder)).all()


def test_a_field_of_another_kind_is_refused_by_name(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["bnt"], folder)
    whole = read_all(folder)
    n = 0
    for name in JSON:
        for path in places(whole[name]):
            # Digests are made anew.
            if path[:1] in (("seal",), ("shapes",)) or path[:1] == ("sha256",) != path:
                continue
            found = whole[name]
            for step in path:
                found = found[step]
            options = wrong(found)
            if found is not None and not {*path} & NULLABLE:
                options.append(None)
            # Every other kind of value for each field in turn: all of them would take a minute.
            for new in options[n % 3 :: 3]:
                if (found is None and isinstance(new, str | int | float)) or new == found:
                    continue
                seal_quietly(folder, whole, name, put(whole[name], path, new))
                with pytest.raises(ModelFileError) as caught:
                    use(folder)
                assert caught.value.exit_code == 65
                field = next((each for each in reversed(path) if isinstance(each, str)), name)
                assert field in str(caught.value), (name, path, new)
                n += 1
    assert n > 120


def seal_quietly(folder: Path, whole: dict[str, Any], name: str, changed: Any) -> None:
    contents = {**whole, name: changed}
    if isinstance(contents["config.json"], dict):
        seal(folder, contents)
    else:
        (folder / "config.json").write_text(render(changed))


@pytest.mark.parametrize("name", JSON)
def test_a_field_too_many_and_a_field_too_few_are_refused_by_name(
    bundles: dict[str, Path], tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["ridge-fc"], folder)
    whole = read_all(folder)
    seal(folder, {**whole, name: {**whole[name], "surprise": 1}})
    with pytest.raises(ModelFileError, match="surprise is an unknown field"):
        use(folder)
    for field in whole[name]:
        if field in ("seal", *NULLABLE, "random_digest") and field != "connectivity_limit":
            continue
        seal(folder, {**whole, name: {k: v for k, v in whole[name].items() if k != field}})
        with pytest.raises(ModelFileError, match=field):
            use(folder)


@pytest.mark.parametrize(
    ("name", "path", "new", "words"),
    [
        ("preprocessing.json", ("options", "window"), 10**12, "options.window is 1000000000000"),
        ("preprocessing.json", ("options", "token_orders"), 10**9, "options.token_orders"),
        ("preprocessing.json", ("options", "resample_tr"), 1e-9, "options.resample_tr"),
        ("preprocessing.json", ("parcels",), ["P0"] * 12, "parcels names something twice"),
        ("preprocessing.json", ("parcels",), ["P0"], "coordinates_mm has 12 entries"),
        ("preprocessing.json", ("coordinates_mm",), [[0, 0, 0]], "coordinates_mm has 1 entries"),
        ("preprocessing.json", ("covariates", 0, "range"), [60, 20], "range is .* not rise"),
        ("preprocessing.json", ("covariates",), [], "covariates are missing|adjust|fmmtc"),
        ("config.json", ("trainings",), 3, "network.trainings has 1 entries"),
        ("config.json", ("model",), "dummy", "network.model is not the model"),
        ("config.json", ("training_range", "tr_s"), [3, 2], "tr_s is .* not rise"),
        ("config.json", ("network", "fitted", "resnet", "depths"), [16384] * 4, "depths"),
        ("config.json", ("network", "fitted", "hidden"), 9, "hidden|network"),
        ("config.json", ("network", "fitted", "fusion"), "sum", "network"),
        ("calibration.json", ("prevalence",), 1.5, "prevalence is 1.5"),
        ("calibration.json", ("calibration", "threshold"), -1, "threshold is -1"),
    ],
)
def test_values_that_cannot_be_together_or_are_beyond_reason_are_refused(
    bundles: dict[str, Path], tmp_path: Path, name: str, path: tuple, new: Any, words: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["fmmtc"], folder)
    whole = read_all(folder)
    if new == []:
        whole["preprocessing.json"]["adjust"] = True
    seal(folder, {**whole, name: put(whole[name], path, new)})
    with pytest.raises(ModelFileError, match=words):
        use(folder)


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": "\\ud800"}', "[" * 100_000, '{"format": 3}'])
def test_text_that_is_no_configuration_is_refused(
    bundles: dict[str, Path], tmp_path: Path, text: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["ridge-fc"], folder)
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"config\.json|format"):
        read_bundle(folder)


def test_an_adjustment_that_is_promised_and_not_there_is_refused(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["ridge-fc"], folder)
    whole = read_all(folder)
    whole["preprocessing.json"]["adjust"] = True
    seal(folder, whole)
    with pytest.raises(ModelFileError, match="adjust does not agree"):
        use(folder)


def other_tensors(tensor: torch.Tensor) -> list[torch.Tensor]:
    """List what a tensor of this name cannot be."""
    other = [
        tensor.to(torch.complex64),
        tensor.to(torch.float16),
        tensor.bool() if tensor.dtype != torch.bool else tensor.float(),
        tensor.reshape(-1)[:0],
        torch.cat([tensor.reshape(-1), tensor.reshape(-1)]),
        tensor[None],
    ]
    if tensor.is_floating_point():
        other.append(torch.full_like(tensor, float("nan")))
    if tensor.numel() > 1:
        other.append(tensor.reshape(-1)[:1])
    return [each for each in other if (each.dtype, each.shape) != (tensor.dtype, tensor.shape)]


@pytest.mark.parametrize("model", ["knn-fc", "xgboost-fc", "fc-logistic", "fmmtc"])
def test_a_tensor_of_another_kind_or_shape_is_refused_by_name(
    bundles: dict[str, Path], tmp_path: Path, model: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles[model], folder)
    whole, path = read_all(folder), folder / "model.safetensors"
    tensors = load_file(path)
    names = [name for name in tensors if ".network." not in name]
    names += [name for name in tensors if ".network." in name][::29]
    for name in names:
        for new in other_tensors(tensors[name]):
            save_file({**tensors, name: new.contiguous()}, path)
            shapes = {**whole["config.json"]["shapes"], name: list(new.shape)}
            seal(folder, {**whole, "config.json": {**whole["config.json"], "shapes": shapes}})
            with pytest.raises(ModelFileError) as caught:
                use(folder)
            assert name.rpartition(".")[2] in str(caught.value), (name, new.dtype, new.shape)


def test_a_tensor_too_many_and_a_tensor_too_few_are_refused(
    bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["knn-fc"], folder)
    whole, path = read_all(folder), folder / "model.safetensors"
    tensors = load_file(path)
    more = {**tensors, "model.head.surprise": torch.zeros(1)}
    for changed in (more, *({k: v for k, v in tensors.items() if k != name} for name in tensors)):
        save_file(changed, path)
        shapes = {name: list(each.shape) for name, each in changed.items()}
        seal(folder, {**whole, "config.json": {**whole["config.json"], "shapes": shapes}})
        with pytest.raises(ModelFileError, match=r"is unknown|is missing"):
            use(folder)


@pytest.mark.parametrize(
    ("model", "name", "value", "words"),
    [
        ("knn-fc", "model.head.y", 7, "outcomes other than 0 and 1"),
        ("xgboost-fc", "model.head.kept", -1, "kept columns do not rise"),
        ("xgboost-fc", "model.head.kept", 10**6, "do not rise|needs column"),
        ("xgboost-fc", "model.head.left", 0, "trees of the model are damaged"),
        ("xgboost-fc", "model.head.feature", 999, "trees of the model are damaged"),
    ],
)
def test_numbers_that_would_be_followed_out_of_their_array_are_refused(
    bundles: dict[str, Path], tmp_path: Path, model: str, name: str, value: int, words: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles[model], folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors[name].clone()
    tensors[name][-1 if name.endswith("kept") else 0] = value
    save_file(tensors, path)
    seal(folder, read_all(folder))
    with pytest.raises(ModelFileError, match=words):
        use(folder)
