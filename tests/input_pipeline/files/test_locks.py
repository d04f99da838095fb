import threading

import pytest

from input_pipeline import files
from input_pipeline.errors import UserError
from tests.input_pipeline.files.programs import run


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


def test_the_input_pipeline_imports_where_there_is_no_fcntl():
    program = """
        import importlib, pkgutil, sys
        for name in ("fcntl", "pwd", "grp", "resource", "termios"):
            sys.modules[name] = None
        import input_pipeline
        for module in pkgutil.walk_packages(input_pipeline.__path__, "input_pipeline."):
            # TensorFlow Datasets and jax are not ours.
            if not module.name.endswith(".builder") and ".drawn." not in module.name:
                importlib.import_module(module.name)
        print("imported")
    """
    done = run(program)
    assert done.stdout.strip() == "imported", done.stderr
