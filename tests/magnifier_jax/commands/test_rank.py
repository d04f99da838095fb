"""`magnifier rank` on files of descriptors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from magnifier_jax.commands.rank import main

GOLDEN = Path(__file__).parents[2] / "golden" / "retrieval_seed0.npz"


@pytest.fixture
def files(tmp_path):
    golden = np.load(GOLDEN)
    for side in ("query", "gallery"):
        np.savez(
            tmp_path / f"{side}.npz",
            descriptors=golden[f"easy_{side}"],
            identities=golden[f"easy_{side}_ids"],
            cameras=golden[f"easy_{side}_cameras"],
        )
    return ["--query", str(tmp_path / "query.npz"), "--gallery", str(tmp_path / "gallery.npz")]


def test_a_table_and_a_file_of_all_numbers(files, tmp_path, capsys):
    golden = np.load(GOLDEN)
    report = tmp_path / "report.json"
    options = ["--rerank", "--expand", "5", "--verify", "--output", str(report)]
    assert main([*files, *options]) == 0
    table = capsys.readouterr().out
    assert "60 of 60 queries have a match among 300 gallery images" in table
    assert f"{golden['easy_mAP']:.2%}" in table
    assert f"{golden['easy_reranked_mAP']:.2%}" in table
    assert "verification over" in table
    numbers = json.loads(report.read_text())
    assert set(numbers) == {"plain", "expanded", "reranked", "verification"}
    assert numbers["plain"]["mAP"] == pytest.approx(float(golden["easy_mAP"]))
    assert numbers["reranked"]["mAP"] == pytest.approx(float(golden["easy_reranked_mAP"]))
    assert numbers["plain"]["average_precision"] == "rectangular"
    assert len(numbers["plain"]["cmc"]) == 50
    assert len(numbers["verification"]["points"]) == 4


def test_the_table_is_printed_where_verification_cannot_be(files, tmp_path, capsys):
    """Of one person, who has no pairs of two."""
    for side in ("query", "gallery"):
        arrays = dict(np.load(tmp_path / f"{side}.npz"))
        np.savez(tmp_path / f"{side}.npz", **arrays | {"identities": arrays["identities"] * 0})
    assert main([*files, "--verify"]) == 2
    said = capsys.readouterr()
    assert "60 of 60 queries have a match" in said.out
    assert said.err.startswith("error: all images show the same person")


def test_single_shot(files, capsys):
    assert main([*files, "--single-shot", "3", "--average-precision", "trapezoid"]) == 0
    assert "trapezoid average precision" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--expand=3", "--verify"]])
def test_collapsed_descriptors_are_warned_of_in_one_line(files, tmp_path, capsys, options):
    for side, count in (("query", 60), ("gallery", 300)):
        arrays = dict(np.load(tmp_path / f"{side}.npz"))
        arrays["descriptors"] = np.ones((count, 4), np.float32)
        np.savez(tmp_path / f"{side}.npz", **arrays)
    assert main([*files, *options]) == 0
    errors = capsys.readouterr().err
    assert errors.startswith("warning: the descriptors have collapsed")
    assert errors.count("\n") == 1


def test_the_table_ends_where_the_curve_does(files, capsys):
    assert main([*files, "--max-rank", "7"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[-2:] == ["rank-1", "rank-5"]


def test_bad_detections_are_left_out_and_counted(files, tmp_path, capsys):
    arrays = dict(np.load(tmp_path / "gallery.npz"))
    junk = {name: np.concatenate([array, array[:9]]) for name, array in arrays.items()}
    junk["identities"][-9:] = -1
    np.savez(tmp_path / "gallery.npz", **junk)
    golden = np.load(GOLDEN)
    assert main([*files, "--expand=3"]) == 0
    table = capsys.readouterr().out
    assert "60 of 60 queries have a match among 300 gallery images" in table
    assert "0 queries and 9 gallery images of identity -1 (bad detections) are left out" in table
    assert f"{golden['easy_mAP']:.2%}" in table
    np.savez(tmp_path / "gallery.npz", **arrays)
    assert main([*files, "--expand=3"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == table.splitlines()[2:]
    np.savez(tmp_path / "gallery.npz", **junk)
    assert main([*files, "--keep-junk"]) == 0
    assert "among 309 gallery images" in capsys.readouterr().out


def test_usual_names_of_the_arrays_are_understood(files, tmp_path, capsys):
    assert main(files) == 0
    table = capsys.readouterr().out
    arrays = dict(np.load(tmp_path / "query.npz"))
    names = {"descriptors": "features", "identities": "pids", "cameras": "camids"}
    np.savez(tmp_path / "query.npz", **{names[name]: array for name, array in arrays.items()})
    assert main(files) == 0
    printed = capsys.readouterr()
    assert printed.out == table
    assert "query.npz: the identities are its array 'pids'" in printed.err


def test_problems_are_one_line(files, tmp_path, capsys):
    def error(*arguments):
        assert main(list(arguments)) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        return message

    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "bare.npy", np.ones((2, 2)))
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "bare.npz", features=np.ones((2, 2)))
    np.savez(tmp_path / "two.npz", features=np.ones((2, 2)), feats=np.ones((2, 2)))
    assert "there is no file" in error(*files, "--query", str(tmp_path / "none.npz"))
    assert "is not a sound .npz file" in error(*files, "--query", str(tmp_path / "text.npz"))
    assert "it is empty" in error(*files, "--query", str(tmp_path / "empty.npz"))
    assert "a single array without" in error(*files, "--query", str(tmp_path / "bare.npy"))
    assert "both 'features' and 'feats'" in error(*files, "--query", str(tmp_path / "two.npz"))
    assert "there is no such user" in error(*files, "--query", "~nosuchuser/q.npz")
    assert "is a folder" in error(*files, "--output", str(tmp_path))
    assert "max_rank" in error(*files, "--max-rank", str(10**12))
    assert "repetitions" in error(*files, "--single-shot", str(10**12))
    assert "seed" in error(*files, "--single-shot", "2", "--seed", "-1")
    assert "alpha" in error(*files, "--expand", "2", "--alpha", "nan")
    assert main([*files, "--query", str(tmp_path / "bare.npz")]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "has no array 'identities' beside features" in message
    np.savez(tmp_path / "plain.npz", descriptors=np.ones((2, 32)), identities=[0, 1])
    assert "camera_filter=False" in error(*files, "--query", str(tmp_path / "plain.npz"))


def test_an_output_is_replaced_only_when_asked_and_never_its_source(files, tmp_path, capsys):
    gallery = tmp_path / "gallery.npz"
    data = gallery.read_bytes()
    link = tmp_path / "link.npz"
    link.symlink_to(gallery)
    for output in (gallery, link):
        for force in ([], ["--force"]):
            assert main([*files, "--output", str(output), *force]) == 2
            assert "what the output is made from" in capsys.readouterr().err
    assert gallery.read_bytes() == data
    report = tmp_path / "new" / "report.json"
    assert main([*files, "--output", str(report)]) == 0
    report.write_text("mine")
    assert main([*files, "--output", str(report)]) == 2
    assert "--force" in capsys.readouterr().err
    assert report.read_text() == "mine"
    assert main([*files, "--output", str(report), "--force"]) == 0
    assert set(json.loads(report.read_text())) == {"plain"}


def test_queries_in_the_gallery_are_said(files, tmp_path, capsys):
    options = ["--gallery", str(tmp_path / "query.npz"), "--no-camera-filter", "--rerank"]
    assert main([*files, *options]) == 0
    errors = capsys.readouterr().err
    assert errors.startswith("warning: 60 of 60 queries are in the gallery themselves")
    assert errors.count("\n") == 1


def test_spellings_of_one_number_are_said(files, tmp_path, capsys):
    for side, width in (("query", 0), ("gallery", 4)):
        arrays = dict(np.load(tmp_path / f"{side}.npz"))
        arrays["identities"] = np.char.zfill(arrays["identities"].astype(str), width)
        arrays["cameras"] = np.full(len(arrays["cameras"]), -1)
        np.savez(tmp_path / f"{side}.npz", **arrays)
    assert main(files) == 2
    errors = capsys.readouterr().err
    assert "warning: different identities with almost the same name: '0', '0000'; " in errors
    assert "error: no query has a match" in errors


def test_objects_get_a_hint(files, tmp_path, capsys):
    arrays = dict(np.load(tmp_path / "query.npz"))
    np.savez(tmp_path / "query.npz", **arrays | {"cameras": arrays["cameras"].astype(object)})
    assert main(files) == 2
    message = capsys.readouterr().err
    assert "query.npz" in message
    assert "cameras=np.array(list(cameras))" in message


def test_as_a_command(files):
    done = subprocess.run(
        [sys.executable, "-m", "magnifier_jax.retrieval", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "rank-10" in done.stdout
