"""Huge pages are asked for once, and only where they can be had."""

import sys

import pytest

from magnifier_jax import memory


@pytest.fixture
def starts(monkeypatch, tmp_path):
    """Arguments of every new start, on a system that has huge pages."""
    found = []
    kernel = tmp_path / "enabled"
    kernel.write_text("always [madvise] never\n")
    monkeypatch.setattr(memory, "_KERNEL", kernel)
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory.sys, "orig_argv", ["python", "-m", "magnifier_jax.main", "--x=1"])
    monkeypatch.setattr(memory.os, "execv", lambda path, arguments: found.append(arguments))
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=1")
    return found


def test_starts_anew_once_with_the_same_arguments(starts):
    memory.use_huge_pages()
    assert starts == [[sys.executable, "-m", "magnifier_jax.main", "--x=1"]]
    assert memory.os.environ["GLIBC_TUNABLES"] == "glibc.malloc.check=1:glibc.malloc.hugetlb=1"
    memory.use_huge_pages()
    assert len(starts) == 1


@pytest.mark.parametrize("library", [("glibc", "2.34"), ("glibc", "2.9"), ("", ""), ("musl", "1")])
def test_leaves_other_c_libraries_alone(starts, monkeypatch, library):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: library)
    memory.use_huge_pages()
    assert not starts


@pytest.mark.parametrize("enabled", ["[always] madvise never", "always madvise [never]", None])
def test_leaves_other_kernels_alone(starts, enabled):
    if enabled is None:
        memory._KERNEL.unlink()
    else:
        memory._KERNEL.write_text(enabled)
    memory.use_huge_pages()
    assert not starts


def test_can_be_switched_off(starts, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    memory.use_huge_pages()
    assert not starts
