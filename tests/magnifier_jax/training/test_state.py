import dataclasses
import json
import os

import jax
import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import MagnifierError, UserError
from magnifier_jax.checkpoints import CheckpointStore
from magnifier_jax.datasets import list_sets
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.interop import to_torch_state_dict, write_safetensors, write_torch_file
from magnifier_jax.training.manifest import Changes, Manifest, Person, compare
from magnifier_jax.training.state import (
    check_resumable,
    check_same_images,
    check_same_people,
    differences,
    starting_state,
    training_record,
)
from magnifier_jax.training.step import build_model
from magnifier_jax.workdir import WorkDirectory
from tests import layouts


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:1])


@pytest.fixture(scope="module")
def trained(tiny_run, mesh):
    return load_trained(tiny_run.workdir.path, mesh)


def start(trained, mesh, *, identities=None, **init):
    config = dataclasses.replace(
        trained.config, seed=5, init=dataclasses.replace(trained.config.init, **init)
    )
    said = []
    identities = identities or trained.identities
    model = build_model(config, num_identities=len(identities))
    state = starting_state(config, model, mesh, identities=identities, say=said.append)
    return jax.device_get(state.variables), "\n".join(said)


def same(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, jax.device_get(two))


@pytest.mark.parametrize("form", ["workdir", "safetensors", "pth"])
def test_a_whole_network(trained, tiny_run, mesh, form, tmp_path):
    path = tiny_run.workdir.path
    if form != "workdir":
        path = tmp_path / f"weights.{form}"
        write = write_safetensors if form == "safetensors" else write_torch_file
        write(path, to_torch_state_dict(trained.variables, trained.model))
    variables, said = start(trained, mesh, checkpoint=str(path))
    same(variables, trained.variables)
    assert str(path) in said


@pytest.mark.parametrize("form", ["workdir", "safetensors"])
def test_classifiers_of_other_identities_start_afresh(trained, tiny_run, mesh, form, tmp_path):
    path = tiny_run.workdir.path
    if form != "workdir":
        path = tmp_path / "weights.safetensors"
        write_safetensors(path, to_torch_state_dict(trained.variables, trained.model))
    variables, said = start(trained, mesh, identities=list("abcde"), checkpoint=str(path))
    for kept in ("backbone", "parsing"):
        same(variables["params"][kept], trained.variables["params"][kept])
    assert variables["params"]["global_branch"]["classifier"]["kernel"].shape[1] == 5
    assert "8 instead of 5" in said


def test_weights_without_classifiers_say_nothing_of_them(trained, mesh, tmp_path):
    """As those of the networks that come with the package."""
    path = tmp_path / "weights.safetensors"
    state = to_torch_state_dict(trained.variables, trained.model)
    write_safetensors(path, {n: a for n, a in state.items() if not n.startswith("classifier")})
    variables, said = start(trained, mesh, checkpoint=str(path))
    same(variables["params"]["parsing"], trained.variables["params"]["parsing"])
    assert "does not name its identities" not in said
    np.testing.assert_array_equal(classifier_of(variables), classifier_of(start(trained, mesh)[0]))


def test_necks_that_have_collapsed_begin_anew(trained, mesh, tmp_path):
    state = to_torch_state_dict(trained.variables, trained.model)
    torso = "base.part.part_bns.2.weight"
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, {**state, torso: state[torso] * np.float32(1e-20)})
    variables, said = start(trained, mesh, checkpoint=str(path))
    scales = trained.variables["params"]["fusion"]["part_necks"]["scale"]
    np.testing.assert_array_equal(
        variables["params"]["fusion"]["part_necks"]["scale"], np.asarray(scales.at[2].set(1))
    )
    assert "the necks of torso, which begin anew" in said


def test_a_network_that_does_not_come_with_the_package_is_refused(trained, mesh):
    with pytest.raises(UserError, match="there is no drawm"):
        start(trained, mesh, checkpoint="drawm")


def classifier_of(variables):
    return np.asarray(variables["params"]["global_branch"]["classifier"]["kernel"])


def test_people_keep_their_classifiers_by_name(trained, tiny_run, mesh):
    path = str(tiny_run.workdir.path)
    strangers = [f"shop/{place}" for place in range(8)]
    fresh, said = start(trained, mesh, identities=strangers, checkpoint=path)
    assert "Of the 8 identities 0 are known" in said
    before, random = classifier_of(trained.variables), classifier_of(start(trained, mesh)[0])
    np.testing.assert_array_equal(classifier_of(fresh), random)
    assert not np.isclose(before, random).all(axis=0).any()

    order = trained.identities[::-1]
    turned, said = start(trained, mesh, identities=order, checkpoint=path)
    np.testing.assert_array_equal(classifier_of(turned), before[:, ::-1])
    parts = [
        v["params"]["fusion"]["part_classifiers"]["kernel"] for v in (turned, trained.variables)
    ]
    np.testing.assert_array_equal(parts[0], np.asarray(parts[1])[..., ::-1])
    assert "Of the 8 identities 8 are known" in said

    mixed = ["shop/new", trained.identities[6], trained.identities[1]]
    some, said = start(trained, mesh, identities=mixed, checkpoint=path)
    np.testing.assert_array_equal(classifier_of(some)[:, 1:], before[:, [6, 1]])
    assert "Of the 3 identities 2 are known" in said
    assert "1 start afresh" in said


def test_a_file_without_names_says_whose_classifiers_it_is_taken_to_hold(trained, mesh, tmp_path):
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, to_torch_state_dict(trained.variables, trained.model))
    _, said = start(trained, mesh, checkpoint=str(path))
    assert f"{path} does not name its identities" in said


def test_a_backbone(trained, mesh, tmp_path):
    tensors = to_torch_state_dict(trained.variables, trained.model)
    prefix = "base.model."
    resnet = {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
    path = tmp_path / "resnet.pth"
    write_torch_file(path, {**resnet, "fc.weight": np.zeros((10, 4), np.float32)})
    variables, said = start(trained, mesh, backbone=str(path))
    same(variables["params"]["backbone"], trained.variables["params"]["backbone"])
    kernel = variables["params"]["fusion"]["bottleneck"]["conv1"]["kernel"]
    other = trained.variables["params"]["fusion"]["bottleneck"]["conv1"]["kernel"]
    assert not np.array_equal(kernel, other)
    assert "fc.weight" in said


@pytest.mark.parametrize("field", ["backbone", "checkpoint"])
def test_a_path_that_does_not_load_stops_the_run(trained, mesh, field, tmp_path):
    with pytest.raises(UserError, match=f"config.init.{field}: there is no"):
        start(trained, mesh, **{field: "/nowhere/weights.pth"})
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(MagnifierError, match=r"weights\.pth"):
        start(trained, mesh, **{field: str(tmp_path / "weights.pth")})


CONFIG = {"seed": 1, "data": {"name": "synthetic", "size": [64, 32]}, "log": {"every": 10}}


def test_every_differing_field_is_named():
    other = {"data": {"name": "market", "size": (64, 32), "flip": True}, "log": {"every": 10}}
    assert differences(CONFIG, CONFIG) == {}
    assert differences(CONFIG, other) == {
        "data.flip": "data.flip: (absent) → true",
        "data.name": 'data.name: "synthetic" → "market"',
        "seed": "seed: 1 → (absent)",
    }


def change(config, section, **values):
    section_of = dataclasses.replace(getattr(config, section), **values)
    return dataclasses.replace(config, **{section: section_of})


def check(tiny_run, config, **options):
    said = []
    check_resumable(tiny_run.workdir, config, say=said.append, **options)
    return said


def test_the_checkpoint_decides_what_a_run_may_go_on_with(tiny_run):
    config = tiny_run.config
    assert check(tiny_run, config) == []
    changed = dataclasses.replace(change(config, "train", log_every_steps=7), seed=3)
    with pytest.raises(UserError) as caught:
        check(tiny_run, changed)
    assert "differing fields: seed: 0 → 3. Give the same" in str(caught.value)
    assert "resume_with_changes" in str(caught.value)
    assert check(tiny_run, changed, allow_changes=True) == ["Resuming with changes: seed: 0 → 3"]


def test_how_often_a_run_is_looked_at_may_change(tiny_run):
    settings = {"evaluate_every_epochs": 3, "checkpoint_every_steps": 9, "keep_checkpoints": 5}
    assert check(tiny_run, change(tiny_run.config, "train", **settings)) == []


def test_other_weights_to_start_from_are_ignored_aloud(tiny_run):
    (said,) = check(tiny_run, change(tiny_run.config, "init", backbone="other.pth"))
    assert said.startswith("Ignored, for the run resumes from its own checkpoint: init.backbone")


def test_nothing_is_compared_before_the_first_checkpoint(tiny_run, tmp_path):
    workdir = WorkDirectory(tmp_path)
    workdir.write_config(dataclasses.replace(tiny_run.config, seed=9).to_mapping())
    check_resumable(workdir, tiny_run.config)


@pytest.fixture
def people(tiny_run, tmp_path):
    """Four people, and a function that lists them as a run would that resumes."""
    root = tmp_path / "shop"
    for place, shot in enumerate(shot for shot in layouts.shots() if shot.split == "train"):
        name = "train/" + ("ben", "eve", "tom", "zoe")[shot.identity % 4]
        layouts.save(shot, root / name / f"{place}_c{shot.camera}.jpg")
    for shot in (shot for shot in layouts.shots() if shot.split != "train"):
        path = root / shot.split / str(shot.identity) / f"{shot.index}_c{shot.camera}.jpg"
        layouts.save(shot, path)

    def found(**changes):
        options = {"train": "folders", "root": str(root), "part_labels": "bands", **changes}
        data = dataclasses.replace(tiny_run.config.data, **options)
        return list_sets(dataclasses.replace(tiny_run.config, data=data), progress=False)

    return root, found


def saved(folder, identities, manifest=None):
    """A work directory with a checkpoint of a run on these people."""
    workdir = WorkDirectory(folder)
    record = training_record(manifest) if manifest else {}
    with CheckpointStore(workdir.checkpoints) as store:
        metadata = {"config": {}, "identities": list(identities), **record}
        store.save(1, variables={"a": np.zeros(1)}, optimizer={}, metadata=metadata)
    return workdir


def resume(workdir, listing, **options):
    check_same_people(workdir, listing)
    check_same_images(workdir, listing.manifest(), **options)


def test_unchanged_people_resume(people, tmp_path):
    root, found = people
    listing = found()
    assert listing.identities() == ("shop/ben", "shop/eve", "shop/tom", "shop/zoe")
    workdir = saved(tmp_path / "run", listing.identities(), listing.manifest())
    resume(workdir, found())
    root.rename(root.with_name("moved"))
    resume(workdir, found(root=str(root.with_name("moved"))))


def test_a_checkpoint_that_knows_numbers_only_resumes(people, tmp_path):
    _, found = people
    resume(saved(tmp_path / "old", [f"shop/{place}" for place in range(2, 6)]), found())
    with pytest.raises(UserError, match="shop/0 is gone"):
        resume(saved(tmp_path / "other", [f"shop/{place}" for place in range(6)]), found())


def test_names_are_never_taken_for_numbers(people, tmp_path):
    """People called 0 to 3 are not the first four of others."""
    _, found = people
    person = next(iter(found().manifest().people.values()))
    numbered = Manifest({f"shop/{place}": person for place in range(4)})
    with pytest.raises(UserError, match="shop/0 is gone"):
        resume(saved(tmp_path / "run", numbered.identities, numbered), found())


def test_a_renamed_person_is_another_one(people, tmp_path):
    root, found = people
    listing = found()
    workdir = saved(tmp_path / "run", listing.identities(), listing.manifest())
    (root / "train/eve").rename(root / "train/yve")
    with pytest.raises(UserError, match=r"shop/eve is gone; shop/yve is new.*init\.checkpoint="):
        resume(workdir, found())
    with pytest.raises(UserError, match="shop/eve is gone"):
        resume(workdir, found(), allow_changes=True)


def swap(root):
    (root / "train/ben").rename(root / "train/between")
    (root / "train/tom").rename(root / "train/ben")
    (root / "train/between").rename(root / "train/tom")


def remove(root):
    next((root / "train/ben").iterdir()).unlink()


def relabel(root):
    path = next((root / "train/ben").iterdir())
    path.rename(root / "train/tom" / path.name)


def other_camera(root):
    path = next((root / "train/ben").iterdir())
    path.rename(path.with_name(path.name.split("_")[0] + "_c77.jpg"))


def other_content(root):
    path = next((root / "train/ben").iterdir())
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap, "shop/ben has other images or cameras; shop/tom has other images or cameras"),
        (remove, "shop/ben has 3 images instead of 4"),
        (relabel, "shop/ben has 3 images instead of 4; shop/tom has 5 images instead of 4"),
        (other_camera, "shop/ben has other images or cameras"),
        (other_content, "shop/ben has other images or cameras"),
    ],
)
def test_changed_images_are_noticed(people, tmp_path, change, words):
    root, found = people
    listing = found()
    workdir = saved(tmp_path / "run", listing.identities(), listing.manifest())
    change(root)
    with pytest.raises(UserError, match=words) as caught:
        resume(workdir, found())
    assert "--resume_with_changes" in str(caught.value)
    said = []
    resume(workdir, found(), allow_changes=True, say=said.append)
    assert said == [f"Resuming with changed images: {words}"]


def test_changed_part_labels_are_noticed(people, tmp_path):
    _, found = people
    manifest = found().manifest()
    workdir = saved(tmp_path / "run", manifest.identities, manifest)
    ben = dataclasses.replace(manifest.people["shop/ben"], part_labels=7)
    changed = Manifest({**manifest.people, "shop/ben": ben})
    check_same_images(workdir, changed, part_labels=False)
    with pytest.raises(UserError, match="shop/ben has other part labels"):
        check_same_images(workdir, changed)


def paint(path, color):
    """Writes an image of one color as BMP: all such files have the same size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 32), color).save(path)


def test_people_swapped_for_others_with_files_of_the_same_size_are_noticed(people, tmp_path):
    root, found = people
    for person in (root / "train").iterdir():
        for path in person.iterdir():
            path.unlink()
        paint(person / "c1_1.bmp", tuple(person.name.encode()))
        paint(person / "c2_1.bmp", tuple(person.name.upper().encode()))
    where = {"prepared": str(tmp_path / "prepared"), "part_labels": "none"}
    before = found(**where).open_training(progress=False).manifest
    assert all(person.contents is not None for person in before.people.values())
    assert Manifest.from_json(json.loads(json.dumps(before.to_json()))) == before
    workdir = saved(tmp_path / "run", before.identities, before)
    for place, path in enumerate(sorted(root.rglob("train/*/*.bmp"))):
        os.utime(path, (place, place))
    check_same_images(workdir, found(**where).open_training(progress=False).manifest)
    swap(root)
    now = found(**where)
    resume(workdir, now, part_labels=False)  # names, cameras and sizes are the same
    with pytest.raises(UserError, match="shop/ben has other images or cameras; shop/tom has other"):
        check_same_images(workdir, now.open_training(progress=False).manifest)


def test_part_maps_of_the_same_size_are_compared_by_what_is_in_them():
    person = Person(images=4, files=1, part_labels=2, contents=(3, 4))
    other = dataclasses.replace(person, contents=(3, 5))
    before, after = (Manifest({"shop/ben": someone}) for someone in (person, other))
    assert compare(before, after).images == ("shop/ben has other part labels",)
    assert compare(before, before).images == ()
    # Sizes are all that is known of what an older version prepared.
    older = Manifest({"shop/ben": dataclasses.replace(person, contents=None)})
    assert compare(older, after).images == ()


def test_several_datasets_that_were_moved_keep_their_people():
    person = Person(images=4, files=1, part_labels=2)

    def of(*names):
        return Manifest(dict.fromkeys(names, person))

    before = of("shop/ben", "mall/ben", "mall/a/b")
    assert compare(before, of("store/ben", "mall/ben", "mall/a/b")) == Changes()
    assert compare(before, of("new_shop/ben", "new_mall/ben", "new_mall/a/b")) == Changes()
    # Another order of the same datasets is another order of the classifiers.
    assert compare(before, of("mall/ben", "mall/a/b", "shop/ben")).people
    assert compare(before, of("mall/ben", "shop/ben", "shop/a/b")).people


def test_the_folder_of_the_data_may_change(people, tmp_path):
    root, found = people
    listing = found(train=f"folders@{root}")
    config, manifest = listing.config, listing.manifest()

    def at(train):
        return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train))

    for name, record in (("run", training_record(manifest)), ("older", {})):
        workdir = WorkDirectory(tmp_path / name)
        metadata = {"config": config.to_mapping(), "identities": list(manifest.identities)}
        with CheckpointStore(workdir.checkpoints) as store:
            store.save(
                1, variables={"a": np.zeros(1)}, optimizer={}, metadata={**metadata, **record}
            )
        check_resumable(workdir, at(f"folders@{root}"))
        if record:
            check_resumable(workdir, at("folders@/elsewhere/shop"))
        else:
            with pytest.raises(UserError, match=r"data\.train"):
                check_resumable(workdir, at("folders@/elsewhere/shop"))
        with pytest.raises(UserError, match=r"data\.train"):
            check_resumable(workdir, at("csv@/elsewhere/shop"))


@pytest.mark.parametrize("record", [7, [1], {"a": 3}, {"a": [1, 2]}, {"a": [1, 2, "x"]}])
def test_a_damaged_list_of_images_is_named(people, tmp_path, record):
    _, found = people
    workdir = WorkDirectory(tmp_path)
    with CheckpointStore(workdir.checkpoints) as store:
        metadata = {"config": {}, "identities": [], "training_images": record}
        store.save(1, variables={"a": np.zeros(1)}, optimizer={}, metadata=metadata)
    with pytest.raises(UserError, match="list of training images is damaged"):
        resume(workdir, found())
