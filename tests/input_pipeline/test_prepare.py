"""The command `magnifier prepare`."""

import os
import subprocess
import sys

import pytest

from input_pipeline import prepare as command
from input_pipeline.files import default_data_dir
from input_pipeline.store.splits import prepare
from tests import layouts


def run(tmp_path, *arguments: str) -> int:
    return command.main(["--root", str(tmp_path), "--data-dir", str(tmp_path / "out"), *arguments])


def test_a_dataset_is_checked_counted_prepared_and_drawn(tmp_path, capsys):
    spec = layouts.market1501(tmp_path)
    assert run(tmp_path, "--dataset", spec, "--sheet", str(tmp_path / "sheet.png")) == 0
    shown = capsys.readouterr()
    assert "market1501 is ready in" in shown.out
    assert "train            16           4        2" in shown.out
    assert "warning: Market-1501: the train split in" in shown.err
    assert "lower leg" in shown.out
    assert (tmp_path / "sheet.png").stat().st_size > 10_000
    dataset = layouts.without_warnings(layouts.read_dataset, spec, tmp_path)
    prepared = prepare(dataset, data_dir=tmp_path / "out", progress=False)
    assert (len(prepared.train), len(prepared.query), len(prepared.gallery)) == (16, 4, 9)


def test_a_sheet_replaces_nothing_unasked_and_never_an_image(tmp_path, capsys):
    dataset = layouts.read("market1501", tmp_path)
    spec = ["--dataset", "market1501", "--check"]
    sheet = tmp_path / "sheet.png"
    sheet.write_text("of somebody else")
    assert run(tmp_path, *spec, "--sheet", str(sheet)) == 2
    shown = capsys.readouterr()
    assert "--force" in shown.err
    assert "Checking" not in shown.err  # refused before the long work
    assert sheet.read_text() == "of somebody else"
    for source in (dataset.train[0].path, dataset.train[1].part_map):
        before = source.read_bytes()
        assert run(tmp_path, *spec, "--force", "--sheet", str(source)) == 2
        assert "what the output is made from" in capsys.readouterr().err
        assert source.read_bytes() == before
    assert run(tmp_path, *spec, "--force", "--sheet", str(sheet)) == 0
    assert sheet.stat().st_size > 10_000


def test_running_it_again_writes_nothing(tmp_path, capsys):
    spec = layouts.market1501(tmp_path)
    assert run(tmp_path, "--dataset", spec) == 0
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    first = capsys.readouterr().out
    assert run(tmp_path, "--dataset", spec) == 0
    again = capsys.readouterr()
    assert again.out == first
    assert "Checking" not in again.err
    assert "Preparing" not in again.err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == written


def test_check_prepares_nothing(tmp_path, capsys):
    assert run(tmp_path, "--dataset", layouts.market1501(tmp_path), "--check") == 0
    assert "market1501 can be used" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["checked"]


def test_every_bad_file_has_a_line_and_names_count_too(tmp_path, capsys):
    dataset = layouts.read("market1501", tmp_path)
    dataset.train[0].path.write_bytes(b"")
    dataset.train[2].part_map.write_text("not a map")
    dataset.gallery[2].part_map.write_text("not a map, and not looked at")
    odd = dataset.root / "query" / "me.jpg"
    odd.touch()
    assert run(tmp_path, "--dataset", "market1501") == 2
    error = capsys.readouterr().err
    bad = [line for line in error.splitlines() if line.startswith("bad file: ")]
    assert len(bad) == 3
    assert all(str(path) in error for path in (dataset.train[0].path, odd))
    assert "me.jpg: its name is not like 0002_c1s1_000451_03.jpg" in error
    assert error.splitlines()[-1].startswith("error: 3 files cannot be used")


def test_all_datasets_are_checked_whatever_is_wrong_with_one(tmp_path, capsys):
    layouts.market1501(tmp_path)
    layouts.folders(tmp_path)
    layouts.market_style(tmp_path)
    train = sorted((tmp_path / "büro" / "train").iterdir())[0]
    (train / "loop").symlink_to(tmp_path / "büro" / "train")
    next(train.glob("*.jpg")).write_bytes(b"")
    shop = tmp_path / "My shop"
    source = next((shop / "bounding_box_train").iterdir())
    (shop / "query" / source.name).write_bytes(source.read_bytes())
    next((shop / "bounding_box_test").iterdir()).write_bytes(b"")
    specs = "folders@büro,dukemtmc,market_style@My shop,market1501"
    assert run(tmp_path, "--dataset", specs, "--part-labels", "bands") == 2
    out, err = capsys.readouterr()
    bad = [line for line in err.splitlines() if line.startswith("bad file: ")]
    assert len(bad) == 4
    assert sum("the file is empty" in line for line in bad) == 2
    assert any("leads back to" in line for line in bad)
    assert any("identities in both training and test: " in line for line in bad)
    last = err.splitlines()[-1]
    assert last.startswith("error: DukeMTMC-reID (withdrawn by its authors) is not in")
    assert "; 4 files cannot be used: " in last
    assert all(f"\n{name} in " in out for name in ("buro", "my_shop", "market1501"))
    assert not (tmp_path / "out" / "market1501").exists()


def test_a_sheet_for_each_of_several_datasets(tmp_path, capsys):
    specs = [layouts.market1501(tmp_path), layouts.dukemtmc(tmp_path)]
    sheet = ["--sheet", str(tmp_path / "sheet.png"), "--check"]
    assert run(tmp_path, "--dataset", ",".join(specs), *sheet) == 0
    assert (tmp_path / "sheet_market1501.png").exists()
    assert (tmp_path / "sheet_dukemtmc.png").exists()


@pytest.mark.parametrize("labels", ["bands", "none"])
def test_a_data_dir_that_cannot_be_written_is_one_line(tmp_path, capsys, labels):
    spec = layouts.market_style(tmp_path)
    (tmp_path / "out").touch()
    assert run(tmp_path, "--dataset", spec, "--part-labels", labels) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "choose another data_dir" in last


def test_without_labels_it_checks_the_pictures_and_stops(tmp_path, capsys):
    spec = layouts.market_style(tmp_path)
    assert run(tmp_path, "--dataset", spec) == 2
    shown = capsys.readouterr()
    assert "train            16" in shown.out
    assert "16 of 16 training images of my_shop have no part labels" in shown.err
    assert run(tmp_path, "--dataset", spec, "--part-labels", "none") == 0
    assert "my_shop is ready" in capsys.readouterr().out


def test_bands_are_announced(tmp_path, capsys):
    spec = layouts.market_style(tmp_path)
    assert run(tmp_path, "--dataset", spec, "--part-labels", "bands") == 0
    shown = capsys.readouterr()
    assert "warning: my_shop is trained with fixed body bands" in shown.err
    assert "my_shop is ready" in shown.out


def test_labels_of_another_parser_are_converted_on_the_way(tmp_path, capsys):
    spec = layouts.market1501(tmp_path)
    tree = (tmp_path / "Market-1501-v15.09.15_ps_label").rename(tmp_path / "pascal")
    arguments = ["--dataset", spec, "--part-labels"]
    assert run(tmp_path, *arguments, "pascal7", str(tree)) == 2
    assert "class 7 is not one of Pascal-Person-Part" in capsys.readouterr().err
    assert run(tmp_path, *arguments, "densepose14", str(tree)) == 0
    assert run(tmp_path, *arguments, str(tree)) == 0
    assert capsys.readouterr().out.count("market1501 is ready") == 2


def test_several_datasets_are_prepared_and_a_withdrawn_one_says_so(tmp_path, capsys):
    specs = [layouts.market1501(tmp_path), layouts.dukemtmc(tmp_path)]
    assert run(tmp_path, "--dataset", ",".join(specs), "--check") == 0
    out, err = capsys.readouterr()
    assert "warning: DukeMTMC was withdrawn by its authors" in err
    assert out.index("market1501 can be used") < out.index("dukemtmc can be used")


@pytest.mark.parametrize("spec", ["market", "market1501", "msmt17", ""])
def test_failures_are_one_line(tmp_path, capsys, spec):
    assert run(tmp_path, "--dataset", spec) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1


def test_as_a_command(tmp_path):
    spec = layouts.folders(tmp_path)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    arguments = ["--dataset", spec, "--part-labels", "bands", "--root", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "input_pipeline.prepare", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "Checking buro" in done.stderr
    assert (tmp_path / "cache" / "magnifier_jax" / "prepared" / "buro").is_dir()


def test_the_default_place_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_data_dir() == tmp_path / "magnifier_jax" / "prepared"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert default_data_dir() == tmp_path / "home" / ".cache" / "magnifier_jax" / "prepared"


def test_what_was_taken_as_identities_is_noted_and_files_outside_need_a_word(tmp_path, capsys):
    header, *body = layouts.table_rows(tmp_path)
    (tmp_path / "lists").mkdir()
    text = "\n".join([header, *(f"../table/{line}" for line in body), "x.png,-0001,,query"])
    (tmp_path / "lists" / "dataset.csv").write_text(text)
    options = ("--dataset", "csv@lists", "--part-labels", "none")
    assert run(tmp_path, *options) == 2
    assert "bad file: " in capsys.readouterr().err
    assert run(tmp_path, *options, "--allow-outside") == 0
    shown = capsys.readouterr().out
    assert "note: identities are the column identity, such as person" in shown
    assert "note: 1 image of identity −1 (junk) is left out" in shown
    assert "lists is ready in" in shown


def test_a_sheet_that_is_there_is_replaced_only_when_asked(tmp_path, capsys):
    spec = layouts.market1501(tmp_path)
    sheet = tmp_path / "sheet.png"
    sheet.write_text("precious")
    assert run(tmp_path, "--dataset", spec, "--check", "--sheet", str(sheet)) == 2
    shown = capsys.readouterr()
    assert "exists already: give another output, or --force" in shown.err
    assert "Checking" not in shown.err  # It is refused before any file is looked at.
    assert sheet.read_text() == "precious"
    assert run(tmp_path, "--dataset", spec, "--check", "--sheet", str(sheet), "--force") == 0
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_a_sheet_is_never_one_of_the_images(tmp_path, capsys):
    dataset = layouts.read("market1501", tmp_path)
    precious = dataset.train[0].path
    whole = precious.read_bytes()
    options = ("--check", "--force", "--sheet", str(precious))
    assert run(tmp_path, "--dataset", "market1501", *options) == 2
    assert "is what the output is made from" in capsys.readouterr().err
    assert precious.read_bytes() == whole


@pytest.mark.parametrize("flag", ["--max-pixels", "--max_pixels"])
def test_a_bound_on_pixels_is_refused_or_kept(tmp_path, capsys, monkeypatch, flag):
    monkeypatch.setenv("MAGNIFIER_MAX_PIXELS", "1000000")
    spec = layouts.market1501(tmp_path)
    assert run(tmp_path, "--dataset", spec, flag, "100", "--check") == 2
    assert "more pixels than the 100 that are allowed" in capsys.readouterr().err
    monkeypatch.setenv("MAGNIFIER_MAX_PIXELS", "lots")
    assert run(tmp_path, "--dataset", spec, "--check") == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("error: MAGNIFIER_MAX_PIXELS is 'lots'")
    assert not any(line.startswith("bad file") for line in error)


def test_spellings_with_underscores_are_understood(tmp_path, capsys):
    spec = layouts.market1501(tmp_path)
    options = ["--dataset", spec, "--part_labels", "bands", "--check"]
    given = ["--root", str(tmp_path), f"--data_dir={tmp_path / 'out'}", *options]
    assert command.main(given) == 0
    assert "can be used" in capsys.readouterr().out
    assert "--part_labels" not in command._parser().format_help()


def test_nobodys_home_is_one_line(tmp_path, capsys):
    spec = layouts.market1501(tmp_path)
    for option in ("--data-dir", "--sheet"):
        given = ["--root", str(tmp_path), "--dataset", spec, "--check", option, "~nosuchuser/x"]
        assert command.main(given) == 2
        assert "there is no such user" in capsys.readouterr().err


def test_datasets_of_the_same_name_have_sheets_of_their_own(tmp_path, capsys):
    for place in ("a", "b"):
        layouts.market1501(tmp_path / place)
    sheet = tmp_path / "sheet.png"
    specs = "market1501@a,market1501@b"
    assert run(tmp_path, "--dataset", specs, "--check", "--sheet", str(sheet)) == 0
    assert sorted(path.name for path in tmp_path.glob("sheet*")) == [
        "sheet_market1501.png",
        "sheet_market1501_2.png",
    ]
