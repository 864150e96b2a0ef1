"""Errors that a person can do something about, in one line: what a path, a disk, a file or a missing library says, instead of a traceback.

A bug is none of them, and keeps its traceback. ``CHEMR_TRACEBACK=1`` shows that of the others, too.
"""

from __future__ import annotations

import errno
import os
import re

from yaml import YAMLError

from chemr.conf_files import ConfFileError, yaml_problem
from chemr.exit_status import UsageError

COMPLAINTS = (OSError, ImportError, YAMLError, ConfFileError, UsageError)  # some of which are bugs nevertheless
TRACEBACK_VARIABLE = "CHEMR_TRACEBACK"
REMEDIES = {
    errno.ENOSPC: "make room there, or write elsewhere",
    errno.EDQUOT: "the quota is used up: make room, or write elsewhere",
    errno.EFBIG: "the file system takes no file that large: write elsewhere",
    errno.EACCES: "change its permissions, or name another place",
    errno.EPERM: "change its permissions, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "look at the path, also at the folders in it",
    errno.ENOTDIR: "a file stands where a folder was expected",
    errno.EISDIR: "name a file, not a folder",
    errno.EEXIST: "remove it, or name another place",
    errno.ENOTEMPTY: "remove it, or name another place",
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "its links go in a circle",
    errno.EMFILE: "allow more open files: ulimit -n 65536",
    errno.ENFILE: "this machine has too many open files",
    errno.EADDRINUSE: "name another port, or 0 for a free one",
    errno.EADDRNOTAVAIL: "name an address of this machine",
    errno.EIO: "the storage fails: look at the kernel's log",
    errno.ESTALE: "the file server has lost it: mount it again",
    errno.ETXTBSY: "a program that runs has it open",
    errno.EXDEV: "source and target must lie on one file system",
    errno.EINVAL: "this file system cannot do that: name another place",
}


def complaint(error: BaseException) -> str | None:
    """The line for people, None for a bug.

    Ray gives what an actor raised as ``cause``; of a chain of errors the one that was raised last counts.
    """
    if os.environ.get(TRACEBACK_VARIABLE):
        return None
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return complaint(cause)
    if isinstance(error, OSError):
        return _of_system(error)
    if isinstance(error, ImportError):
        return _of_library(error)
    if isinstance(error, YAMLError):
        return yaml_problem(error)
    return str(error) if isinstance(error, UsageError | ConfFileError) else None


def _of_system(error: OSError) -> str | None:
    remedy = REMEDIES.get(error.errno or 0)
    if remedy is None or (error.filename is None and error.errno in (errno.ENOENT, errno.EINVAL)):
        return None
    place = error.filename2 or error.filename
    named = os.fsdecode(place) if isinstance(place, str | bytes) else "a file of this command"
    return f"{named}: {os.strerror(error.errno or 0)}; {remedy}"


def _of_library(error: ImportError) -> str | None:
    library = re.match(r"(lib[\w.+-]+): cannot open shared object file", str(error))
    if library is None:
        return None
    return f"the system's library {library[1]} is missing; `chemr doctor` says which package brings it"
