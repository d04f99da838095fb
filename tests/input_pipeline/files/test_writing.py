"""Files are written whole or not at all."""

import os
import pathlib
import stat
import threading

import pytest

from input_pipeline import files
from input_pipeline.errors import UserError
from tests.input_pipeline.files.programs import names, posix, run


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
