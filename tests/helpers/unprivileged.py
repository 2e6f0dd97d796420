"""Tests that obey the permissions of files, also where root runs them (as in most containers)."""

from __future__ import annotations

import ctypes
import functools
import os
import traceback
import warnings

import pytest

__all__ = ["unprivileged"]

_VERSION_3 = 0x20080522
#: To read, write and search whatever the permissions are.
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def unprivileged(test):
    """Run a test in a forked process without these two capabilities of root; as another user, as it is."""

    @functools.wraps(test)
    def forked(*args, **kwargs):
        if os.geteuid() != 0:
            test(*args, **kwargs)
            return
        with warnings.catch_warnings():
            # Of threads, which do not matter here: the process ends with the test.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _drop_capabilities()
                test(*args, **kwargs)
                status = 0
            except pytest.skip.Exception:
                status = 2
            except BaseException:  # noqa: BLE001 - the end of this process
                os.write(2, traceback.format_exc().encode(errors="replace"))
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 2:
            pytest.skip("the capabilities of root cannot be dropped here")
        assert status == 0, "see the traceback on standard error"

    return forked


def _drop_capabilities() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Effective, permitted and inheritable: first those of the lower 32 numbers.
    sets = (ctypes.c_uint32 * 6)()
    if not hasattr(libc, "capset") or libc.capget(header, sets):
        pytest.skip("not Linux")
    for number in range(3):
        sets[number] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    if libc.capset(header, sets):
        pytest.skip(os.strerror(ctypes.get_errno()))
