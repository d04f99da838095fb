"""`magnifier evaluate` from end to end, against what a few loops come to."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

import magnifier_jax as mj


def labeled(folder, model):
    """Descriptors, identities and cameras of the images that are no junk, as names tell them."""
    paths = [path for path in sorted(folder.glob("*.jpg")) if not path.name.startswith("-1")]
    who = [(int(path.name[:4]), int(path.name.split("_c")[1][0])) for path in paths]
    return model.embed(paths).descriptors.astype(np.float64), *np.array(who).T


def open_set(query, gallery, removed):
    """By the definition: (known, unknown, [(found, false alarms) at 1% and at 10%])."""
    alarms, known = [], []
    for vector, person, camera in zip(*query, strict=True):
        distances = np.linalg.norm(gallery[0] - vector, axis=1)
        distances[(gallery[1] == person) & (gallery[2] == camera)] = np.inf
        there = np.isfinite(distances[gallery[1] == person]).any() and person not in removed
        distances[np.isin(gallery[1], removed)] = np.inf
        first = int(distances.argmin())
        if there:
            known.append((distances[first], gallery[1][first] == person))
        else:
            alarms.append(distances[first])
    rates = []
    for rate in (0.01, 0.1):
        threshold = sorted(alarms)[int(rate * len(alarms))]
        found = np.mean([right and distance < threshold for distance, right in known])
        rates.append((threshold, found, np.mean(np.array(alarms) < threshold)))
    return len(known), len(alarms), rates


def test_open_set_goes_to_the_file_and_the_table(tiny_run, tmp_path):
    output = tmp_path / "open.json"
    arguments = [
        f"--workdir={tiny_run.workdir.path}",
        "--config=default",
        "--config.data.test=synthetic:tiny",
        f"--config.data.root={tiny_run.config.data.root}",
        f"--config.data.prepared={tiny_run.config.data.prepared}",
        "--config.evaluate.open_set=True",
        f"--config.evaluate.flip={tiny_run.config.evaluate.flip}",
        f"--output={output}",
    ]
    command = [sys.executable, "-m", "magnifier_jax", "evaluate", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout
    found = json.loads(output.read_text())["open_set"]
    model = mj.load(tiny_run.workdir.path, flip=tiny_run.config.evaluate.flip)
    query = labeled(tiny_run.dataset / "query", model)
    gallery = labeled(tiny_run.dataset / "bounding_box_test", model)
    people = np.unique(query[1])
    # Who is taken out is drawn: it must be one of all halves of the people.
    halves = itertools.combinations(people, len(people) // 2)
    possible = [open_set(query, gallery, np.array(half)) for half in halves]

    def agrees(known, unknown, rates):
        return (found["known_queries"], found["unknown_queries"]) == (known, unknown) and all(
            (point["found"], point["false_alarms"]) == pytest.approx((shown, alarms))
            and point["threshold"] == pytest.approx(threshold, abs=1e-4)
            for point, (threshold, shown, alarms) in zip(found["points"], rates, strict=True)
        )

    assert sum(agrees(*one) for one in possible) >= 1
    assert [point["allowed_rate"] for point in found["points"]] == [0.01, 0.1]
    known, unknown = found["known_queries"], found["unknown_queries"]
    assert known + unknown == len(query[0])
    shares = [100 * point["found"] for point in found["points"]]
    assert (
        f"half of the people not in the gallery: {shares[0]:.1f} at 1% false alarms, "
        f"{shares[1]:.1f} at 10% false alarms ({known} queries known, {unknown} not)"
    ) in said
