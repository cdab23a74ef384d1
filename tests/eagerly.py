"""Training whose steps are not compiled: tracing one takes as long as ten of them, and small runs have fewer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def eagerly() -> Iterator[None]:
    from tf_ssgn.training import fit

    compile_trainer = fit.compile_trainer

    def plainly(trainer: Any, steps: int) -> None:
        compile_trainer(trainer, steps)
        trainer.run_eagerly = True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "compile_trainer", plainly)
        yield
