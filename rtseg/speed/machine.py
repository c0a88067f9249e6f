"""PyTorch's settings while something is timed, its lack of memory, and the commit that was measured."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


@contextmanager
def timing_settings(threads: int | None) -> Iterator[None]:
    """The input size is fixed, so cuDNN may search for its fastest algorithms; float32 means float32, not TF32."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    own = torch.get_num_threads(), cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    try:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
        if threads is not None:
            torch.set_num_threads(threads)
        yield
    finally:
        _, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = own
        torch.set_num_threads(own[0])


def out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch raised this error because the memory is not enough."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def git_commit() -> str | None:
    """The commit of the checkout that this very file belongs to, with '+changes' where it was edited since."""

    def git(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return answer.stdout.strip() if answer.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = git("rev-parse", "--short=12", "HEAD")
    return commit and commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
