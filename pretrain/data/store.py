"""Files in a folder or an object store, and what is said where they cannot be read or written."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import fsspec

from rtseg.errors import UserError

# Every store that was opened, never given up: a loader's process, forked, drops fsspec's own list of them, and would
# take the open connections of this process out of the event loop that both share. The next request would wait minutes.
_STORES: set[fsspec.AbstractFileSystem] = set()


class CutShard(Exception):
    """A tar that ends before its time, or is none."""


def join(root: str, name: str) -> str:
    """A file in a folder or below a URL."""
    return f"{root.rstrip('/')}/{name}"


def open_file(url: str) -> IO[bytes]:
    """A local file or an object of a store, seekable.

    Raises:
        FileNotFoundError
        UserError: the store cannot be reached, or what reads from it is not installed.
    """
    with store_errors(url):
        found = fsspec.open(url, "rb")
        _STORES.add(found.fs)
        return found.open()


@contextmanager
def store_errors(url: str, done: str = "read") -> Iterator[None]:
    """What a store raises inside becomes one that says what to do.

    Args:
        url: of what is asked for.
        done: "read" or "written".

    Raises:
        FileNotFoundError: the store was reached, but has no such thing.
        UserError: anything else.
    """
    try:
        yield
    except (UserError, CutShard):
        raise
    except FileNotFoundError as error:
        cause: BaseException | None = error  # over HTTP fsspec says this whatever went wrong, and the cause tells
        while isinstance(cause, FileNotFoundError):
            cause = cause.__cause__
        if url.startswith("http") and isinstance(cause, Exception) and getattr(cause, "status", None) != 404:
            raise unreachable(url, cause, done) from None
        raise
    except ImportError as error:  # fsspec says which package
        raise UserError(f"{url}: {error}. Install it with pip, or copy the shards to a local folder") from None
    except NotImplementedError:
        raise UserError(
            f"{url}: nothing can be {done} over {url.partition('://')[0]}; give a local folder, or the URL of a store "
            "such as s3://bucket/imagenet"
        ) from None
    except ValueError as error:
        raise UserError(f"{url}: {error}; give a folder, or a URL such as s3://bucket/imagenet") from None
    except Exception as error:  # each store has its own
        raise unreachable(url, error, done) from None


def unreachable(url: str, error: Exception, done: str = "read") -> UserError:
    """The error for what cannot be read or written, and why."""
    reason = str(error).partition("\n")[0][:200] or type(error).__name__  # some hold what a server sent
    return UserError(f"{url}: cannot be {done} ({reason}); check the address, the permissions and the network")
