"""Lock a configuration while a run writes under it.

Runs of one configuration share the lock: jobs of an array write into one output at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["hold", "holding"]

_PATIENCE_S = 5.0
"""Workers of a run that was killed are gone within this time."""
_LOOK_S = 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

_held: ContextVar[ExitStack | None] = ContextVar("held", default=None)


@contextmanager
def holding() -> Iterator[None]:
    """Keep the locks of `hold` until the end; otherwise they are released at once."""
    with ExitStack() as stack:
        token = _held.set(stack)
        try:
            yield
        finally:
            _held.reset(token)


def hold(path: Path, *, change: bool) -> bool:
    """Lock the configuration of file ``path``, shared with other runs of it; False if it is in use.

    ``change`` replaces the configuration, which needs the lock alone. The lock ends with the
    process. File systems without locks return True.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    stack = _held.get()
    try:
        if change and not _alone(handle):
            return False
        # Callers hold the lock of the dataset, so no other run can join in between.
        _lock(handle, fcntl.LOCK_SH)
        if stack is not None:
            stack.callback(os.close, os.dup(handle))
    finally:
        os.close(handle)
    return True


def _alone(handle: int) -> bool:
    until_s = time.monotonic() + _PATIENCE_S
    while not _lock(handle, fcntl.LOCK_EX):
        if time.monotonic() > until_s:
            return False
        time.sleep(_LOOK_S)
    return True


def _lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
