"""Files: whole or not at all, one writer, checked when they are read, refused in one line."""

import contextlib
import json
import multiprocessing
import os
import pathlib
import stat
import subprocess
import sys
import textwrap
import threading

import pytest

from input_pipeline import files
from input_pipeline.errors import DataError, UserError

ROOT = pathlib.Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


# --- Places -------------------------------------------------------------------------------------


def test_paths_are_expanded_as_people_write_them(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SETS", "market")
    assert files.user_path("~/x") == tmp_path / "x"
    assert files.user_path("/data/$SETS/x") == pathlib.Path("/data/market/x")
    assert files.user_path(pathlib.Path("x")) == pathlib.Path("x")
    with pytest.raises(UserError, match="there is no such user"):
        files.user_path("~nosuchuser/x")
    with pytest.raises(UserError, match="null character"):
        files.user_path("a\0b")


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert files.cache_folder() == tmp_path / "cache" / "magnifier_jax"
    assert files.default_data_dir() == files.cache_folder() / "prepared"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_folder() == tmp_path / ".cache" / "magnifier_jax"

    def homeless() -> pathlib.Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", homeless)
    assert files.cache_folder().name == "magnifier_jax"


# --- Writing ------------------------------------------------------------------------------------


def test_a_file_is_the_old_one_until_all_of_the_new_one_is_written(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with files.open_whole(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"

    def interrupted() -> None:
        with files.open_whole(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["x"]


def test_threads_that_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / "x"
    contents = [bytes([65 + i]) * 200_000 for i in range(8)]
    threads = [threading.Thread(target=files.write_bytes, args=(path, c)) for c in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["x"]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000])
def test_a_new_file_has_the_permissions_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "x", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_a_replaced_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "x"
    path.touch()
    path.chmod(mode)
    files.write_text(path, "x")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_links_are_written_through(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link, second = (
        tmp_path / "elsewhere" / "file",
        tmp_path / "link",
        tmp_path / "second",
    )
    link.symlink_to(target)
    second.symlink_to("link")
    files.write_text(second, "new")  # Nothing is there yet.
    assert target.read_text() == "new"
    files.write_text(link, "newer")
    assert target.read_text() == "newer"
    assert link.is_symlink()
    assert second.is_symlink()
    assert names(tmp_path / "elsewhere") == ["file"]
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    with pytest.raises(UserError, match="Cannot write"):
        files.write_text(circle, "x")


@posix
def test_a_pipe_is_written_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    files.write_bytes(pipe, b"through")
    reader.join()
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@posix
@pytest.mark.parametrize("make", ["device", "link to a device"])
def test_a_device_is_written_and_stays(tmp_path, make):
    device = tmp_path / "null"
    if make == "device":
        try:
            os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
            device.write_bytes(b"")
        except OSError:
            pytest.skip("devices cannot be made here")
    else:
        device.symlink_to("/dev/null")
    with files.claim_output(device) as output:
        files.write_bytes(output, b"away")
        with files.open_whole(output) as file:
            file.write(b"away")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert names(tmp_path) == ["null"]
    assert stat.S_ISCHR(pathlib.Path("/dev/null").stat().st_mode)


@posix
def test_standard_output_can_be_the_output(tmp_path):
    program = """
        import pathlib
        from input_pipeline import files
        with files.claim_output("/dev/stdout") as output:
            files.write_text(output, "written")
    """
    assert run(program).stdout == "written"


@posix
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path):
    program = """
        import pathlib, resource, signal, sys
        from input_pipeline import files
        from input_pipeline.errors import UserError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        for write in (
            lambda path: files.write_bytes(path, bytes(5000)),
            lambda path: files.write_json(path, ["x" * 5000]),
        ):
            try:
                write(pathlib.Path(sys.argv[1]))
            except UserError as error:
                print(error)
    """
    (tmp_path / "x").write_text("old")
    done = run(program, tmp_path / "x")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"Cannot write {tmp_path / 'x'} (File too large): make room")
    assert (tmp_path / "x").read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_a_long_name_is_no_problem(tmp_path):
    path = tmp_path / ("ü" * 120 + ".json")  # 245 bytes
    with files.claim_output(path) as output:
        files.write_json(output, {"a": 1})
    assert names(tmp_path) == [path.name]


def test_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"Cannot write .*No such file"):
        files.write_text(tmp_path / "missing" / "x", "x")


# --- Outputs ------------------------------------------------------------------------------------


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


# --- Locks --------------------------------------------------------------------------------------


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    program = """
        import os, pathlib, sys
        from input_pipeline import files
        with files.exclusive(pathlib.Path(sys.argv[1]), what="it"):
            os._exit(9)
    """
    assert run(program, tmp_path / "lock").returncode == 9
    with files.exclusive(tmp_path / "lock", what="it"):
        pass


def test_those_who_wait_say_so(tmp_path, capsys):
    order = []
    held = threading.Event()

    def second() -> None:
        held.wait()
        with files.only_one(tmp_path / "lock", doing="draws"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with files.only_one(tmp_path / "lock", doing="draws"):
        held.set()
        thread.join(timeout=0.5)
        assert thread.is_alive()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "waiting for another process that draws" in capsys.readouterr().err


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match=r"Cannot write .*choose another place"),
        files.exclusive(tmp_path / "file" / "lock", what="it"),
    ):
        pytest.fail("it was locked")


# --- Reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError("deep"), ValueError("a\nb\x1b[2J")]
)
def test_whatever_a_parser_raises_has_one_name(error):
    with (
        pytest.raises(DataError, match=r"^a\.bin is not a sound gallery \(") as caught,
        files.reading("a.bin", what="gallery", advice="make it again"),
    ):
        raise error
    assert str(caught.value).isprintable()
    assert str(caught.value).endswith("make it again")


def test_what_cannot_be_read_says_why(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: No such file or directory"):
        files.read_json(tmp_path / "x", what="card")
    with pytest.raises(DataError, match="cannot be read"):
        files.read_json(tmp_path, what="card")
    with pytest.raises(UserError, match="as it is"), files.reading("x", what="card"):
        raise UserError("as it is")
    with pytest.raises(KeyboardInterrupt), files.reading("x", what="card"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1} x', b"\x00", "é".encode("latin-1")],
)
def test_what_is_not_json_is_refused(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a sound card"):
        files.read_json(path, what="card")


VALUE = {"b": [1, 2.5, None, True], "a": {"é\n": "\udc80 \U0001f600"}}


@pytest.mark.parametrize("checked", [False, True])
def test_json_comes_back(tmp_path, checked):
    path = tmp_path / "x.json"
    files.write_json(path, VALUE, checksum=checked)
    assert files.read_json(path, what="card", checksum=checked) == VALUE
    json.loads(path.read_text("utf-8"))
    assert ("checksum" in json.loads(path.read_bytes())) == checked
    with pytest.raises(ValueError, match="Out of range float"):
        files.write_json(path, {"x": float("nan")})
    assert files.read_json(path, what="card", checksum=checked) == VALUE


def test_every_flipped_bit_of_a_value_is_noticed(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"names": ["Zoë", "b"], "threshold": 0.25, "n": 10}, checksum=True)
    whole = path.read_bytes()
    value = files.read_json(path, what="card", checksum=True)
    refused = 0
    for place in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with contextlib.suppress(DataError):
                # Blanks may be other blanks, and a name of the checksum's field hides it.
                found = files.read_json(path, what="card", checksum=True)
                found = {k: v for k, v in found.items() if k in value}
                assert found == value
                continue
            refused += 1
    assert refused > 0.7 * 8 * len(whole)


def test_a_checksum_does_not_depend_on_the_layout():
    assert files.json_checksum({"a": 1, "b": [2]}) == files.json_checksum({"b": [2], "a": 1})
    assert files.json_checksum({"a": 1}) != files.json_checksum({"a": 2})
    assert files.checksum(b"ab") == files.checksum(b"b", start=files.checksum(b"a"))


def test_the_input_pipeline_imports_where_there_is_no_fcntl():
    program = """
        import importlib, pkgutil, sys
        for name in ("fcntl", "pwd", "grp", "resource", "termios"):
            sys.modules[name] = None
        import input_pipeline
        for module in pkgutil.iter_modules(input_pipeline.__path__):
            if module.name not in ("builder",):  # TensorFlow Datasets is not ours.
                importlib.import_module(f"input_pipeline.{module.name}")
        print("imported")
    """
    done = run(program)
    assert done.stdout.strip() == "imported", done.stderr
