"""Small decompositions on one BLAS thread."""

from contextlib import AbstractContextManager, nullcontext


def one_blas_thread() -> AbstractContextManager[object]:
    """Within it BLAS and LAPACK use one thread; without threadpoolctl nothing changes. A decomposition of some hundred
    rows is thousands of calls of microseconds, each of which would wait for the slowest thread: on a machine that does
    other work too a hundred times as long."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    return threadpool_limits(1, user_api="blas")
