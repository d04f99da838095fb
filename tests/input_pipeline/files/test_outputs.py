"""Outputs that a person names: never one of their sources, one writer, nothing left behind."""

import multiprocessing
import os
import pathlib

import pytest

from input_pipeline import files
from input_pipeline.errors import UserError
from tests.input_pipeline.files.programs import names, posix, run


def test_an_existing_file_is_replaced_only_when_asked(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(UserError, match=r"exists already: .*--force"), files.claim_output(path):
        pytest.fail("it was claimed")
    assert path.read_text() == "old"
    with files.claim_output(path, force=True) as output:
        files.write_text(output, "new")
    assert path.read_text() == "new"
    for force in (False, True):
        with (
            pytest.raises(UserError, match="is a folder"),
            files.claim_output(tmp_path, force=force),
        ):
            pytest.fail("a folder was claimed")


def test_folders_above_an_output_are_made(tmp_path):
    with files.claim_output(tmp_path / "a" / "b" / "x") as output:
        files.write_text(output, "x")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"), files.claim_output(tmp_path / "file/x"):
        pytest.fail("a file is no folder")


@posix
@pytest.mark.parametrize("how", ["itself", "link", "hard link", "another spelling"])
def test_an_output_is_never_one_of_its_sources(tmp_path, how):
    source = tmp_path / "source"
    source.write_text("precious")
    output = {
        "itself": source,
        "link": tmp_path / "link",
        "hard link": tmp_path / "hard",
        "another spelling": tmp_path / "." / ".." / tmp_path.name / "source",
    }[how]
    if how == "link":
        output.symlink_to(source)
    elif how == "hard link":
        output.hardlink_to(source)
    sources = [tmp_path / "missing", source]
    with (
        pytest.raises(UserError, match="is what the output is made from"),
        files.claim_output(output, force=True, sources=sources),
    ):
        pytest.fail("the source was claimed")
    assert source.read_text() == "precious"


def test_what_killed_writers_left_is_removed(tmp_path):
    program = """
        import os, pathlib, sys
        from input_pipeline import files
        output = pathlib.Path(sys.argv[1])
        with files.claim_output(output) as place, files.scratch_folder(place) as scratch:
            (scratch / "half").write_text("half")
            with files.open_whole(place) as file:
                file.write(b"half")
                file.flush()
                os._exit(9)
    """
    output = tmp_path / "x.json"
    assert run(program, output).returncode == 9
    assert len(names(tmp_path)) == 2
    others = [".x.json.notes", ".x.json.12.partial", ".x.json.a-1.partial", ".y.json.1-1.partial"]
    for name in others:
        (tmp_path / name).touch()
    with files.claim_output(output) as place:
        assert names(tmp_path) == sorted(others)
        files.write_text(place, "whole")
    assert output.read_text() == "whole"


def test_a_scratch_folder_is_removed_whatever_happens(tmp_path):
    def failing() -> None:
        with files.scratch_folder(tmp_path / "x") as scratch:
            (scratch / "half").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    with files.scratch_folder(tmp_path / "x") as one, files.scratch_folder(tmp_path / "x") as two:
        assert one != two
    assert names(tmp_path) == []


def _write_slowly(path: pathlib.Path, start, results, mark: str) -> None:
    start.wait()
    try:
        with files.claim_output(path, force=True) as output, files.open_whole(output) as file:
            for _ in range(100):
                file.write(mark.encode() * 100)
                file.flush()
            results.put(mark)
    except UserError as error:
        results.put(str(error))


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_writers_of_one_output_one_writes_and_the_other_is_told(tmp_path, attempt):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    path = tmp_path / "x"
    writers = [
        context.Process(target=_write_slowly, args=(path, start, results, mark)) for mark in "ab"
    ]
    for writer in writers:
        writer.start()
    told = [results.get(timeout=60) for _ in writers]
    for writer in writers:
        writer.join()
    content = path.read_text()
    assert content in ("a" * 10_000, "b" * 10_000)
    refused = [each for each in told if each not in "ab"]
    # The holder's name may not be written yet.
    assert all(f"{path} is in use by " in each for each in refused)
    assert len(refused) < 2
    assert names(tmp_path) == ["x"]


def test_an_output_in_use_is_refused_by_any_name(tmp_path):
    with files.claim_output(tmp_path / "x"):
        for name in (tmp_path / "x", tmp_path / "." / "x", str(tmp_path / "x")):
            with (
                pytest.raises(UserError, match=f"is in use by process {os.getpid()}"),
                files.claim_output(name),
            ):
                pytest.fail("it was claimed twice")
        with files.claim_output(tmp_path / "y"):
            pass
    with files.claim_output(tmp_path / "x"):
        pass
