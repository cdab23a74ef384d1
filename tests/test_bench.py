"""`bench`: which subjects there are, and what became of those that are tests now."""

from __future__ import annotations

import pytest

from tests.long import test_full
from tf_ssgn import bench
from tf_ssgn.errors import UserError


@pytest.mark.parametrize("subject", bench.LONG_TESTS)
def test_a_subject_that_is_now_a_test_names_what_runs_it(subject: str) -> None:
    with pytest.raises(UserError, match=f"now a test; in a clone of the repository: make long ONLY={subject}$"):
        bench.main([subject, "--full"])
    assert callable(getattr(test_full, f"test_{subject}"))


def test_a_wrong_subject_lists_the_right_ones() -> None:
    with pytest.raises(UserError, match="is 'sock', expected one of evaluate, .*, serve, startup, train$"):
        bench.main(["sock"])
