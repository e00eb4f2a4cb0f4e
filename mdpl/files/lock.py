"""A lock on a folder: one process at a time writes there, and a process that has died holds nothing.

The lock is the kernel's (``flock``), which lets go of it however the process ends. A text in the lock file says who
has it. Where a file system keeps no locks, or each host its own, that text decides: the holder is gone if it was a
process of this machine that no longer runs, or if it has not touched the file for five minutes (it does so every
thirty seconds).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jlsm.errors import InputError
from jlsm.files import discard, host_token, is_alive, part_of, remove_leftovers

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOCK_FILE = ".mdpl-lock"
BEAT, SILENCE = 30.0, 300.0
"""s between two signs of life, and after which a holder on another machine counts as gone"""
LOOKS = 0.5
"""s between two looks of who waits"""
WATCH = 2.0
"""s between two looks at a holder on another machine"""
_held: set[Path] = set()


class AtWorkError(InputError):
    """Another process is at work in a folder."""


class _BusyError(Exception):
    """Another process has the lock; what its text says of it, empty where it says nothing."""

    def __init__(self, holder: dict[str, Any]) -> None:
        super().__init__(holder)
        self.holder = holder


def locked(folder: Path, patience: float = 0.0) -> AbstractContextManager[None]:
    """Nobody else writes in a folder while the block runs; within one process, locks of one folder nest.

    Args:
        folder: exists.
        patience: so long another process is waited for, s.

    Raises:
        AtWorkError: another process is at work there.
        InputError: the folder cannot be written.
    """
    end = time.monotonic() + patience

    def refuse(holder: dict[str, Any]) -> None:
        if time.monotonic() >= end:
            raise AtWorkError(_busy(path, holder))
        time.sleep(min(LOOKS, patience))

    path = folder.resolve() / LOCK_FILE
    return _holding(path, refuse, "choose another folder (-o)")


@contextmanager
def alone(product: Path, told: Callable[[str], object]) -> Iterator[None]:
    """Nobody else makes a file or folder of the cache while the block runs: who comes second waits.

    Inside, look first whether the product is there now. Locks of different products do not touch each other; a process
    that is killed stops nobody.

    Args:
        product: what is made; the folder around it is made where there is none, and freed of what killed processes
            left there.
        told: called again and again while this process waits, with who is at work.

    Raises:
        InputError: the folder cannot be written.
    """

    def wait(holder: dict[str, Any]) -> None:
        told(f"waiting for {_name(holder)}, at work on the same")
        time.sleep(LOOKS)

    remedy = "set MDPL_CACHE to a folder of yours"
    try:
        product.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{product.parent}: cannot be written ({error.strerror}): {remedy}") from error
    with _holding(product.parent.resolve() / f".{product.name}.lock", wait, remedy):
        remove_leftovers(product.parent)
        yield


def at_work(folder: Path, watch: bool = False) -> str:
    """Who is at work in a folder, in one line; empty where nobody is, as far as its lock file tells.

    Args:
        folder: need not exist.
        watch: where the holder is on another machine, wait for its next sign of life, or until it counts as gone.
    """
    path = folder.resolve() / LOCK_FILE
    first_sign = None
    while (holder := _holder(path)) and not _is_gone(path, holder, shared=False):
        try:
            sign = path.stat().st_mtime
        except FileNotFoundError:
            break
        first_sign = sign if first_sign is None else first_sign
        if not watch or holder.get("machine") == host_token() or sign != first_sign:
            return _busy(path, holder)
        time.sleep(WATCH)
    return ""


@contextmanager
def _holding(path: Path, busy: Callable[[dict[str, Any]], object], remedy: str) -> Iterator[None]:
    """Have the lock file ``path``, calling ``busy`` with the holder as long as another process has it."""
    if path in _held:
        yield
        return
    try:
        while True:
            try:
                descriptor = _acquire(path)
                break
            except _BusyError as error:
                busy(error.holder)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be written ({error.strerror}): {remedy}") from error
    _held.add(path)
    stop = threading.Event()
    threading.Thread(target=_beat, args=(path, stop), daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        _held.discard(path)
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            shared = _kernel_lock(descriptor, path)
            if not _same_file(descriptor, path):  # the holder before has just removed it
                os.close(descriptor)
                continue
            holder = _holder(path)
            if holder and not _is_gone(path, holder, shared):
                raise _BusyError(holder)
            text = {"pid": os.getpid(), "machine": host_token(), "host": socket.gethostname(),
                    "since": datetime.now(UTC).isoformat(timespec="seconds"), "command": _command()}  # fmt: skip
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(text).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _kernel_lock(descriptor: int, path: Path) -> bool:
    """Whether the kernel gave its lock; False where the file system keeps none. Raises _BusyError: another has it."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _BusyError(_holder(path)) from error
    except OSError:
        return False
    return True


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> dict[str, Any]:
    """Who wrote the lock file; empty where nobody did, or not to the end."""
    try:
        holder = json.loads(path.read_bytes())
        return {**holder, "pid": int(holder["pid"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_gone(path: Path, holder: dict[str, Any], shared: bool) -> bool:
    """Whether a holder who did not tidy up has ended."""
    if holder.get("machine") == host_token():
        return shared or holder["pid"] == os.getpid() or not is_alive(holder["pid"])
    probe = part_of(path)
    probe.touch()
    silence = probe.stat().st_mtime - path.stat().st_mtime  # by the file server's clock, whatever ours says
    discard(probe)
    return silence > SILENCE


def _busy(path: Path, holder: dict[str, Any]) -> str:
    if not holder:
        return f"{path.parent}: another process is at work there: wait for it, or choose another folder (-o)"
    elsewhere = holder.get("machine") != host_token()
    remedy = f"; if it is gone, delete {path}" if elsewhere else ""
    return (
        f"{path.parent}: process {holder['pid']} on {holder.get('host')} is at work there since {holder.get('since')} "
        f"({holder.get('command')}): wait for it, or choose another folder (-o){remedy}"
    )


def _name(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder['pid']} on {holder.get('host')} ({holder.get('command')}, since {holder.get('since')})"


def _command() -> str:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return " ".join(words)[:80]


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        try:
            os.utime(path)
        except OSError:  # the folder is gone: whoever writes there will say so
            return
