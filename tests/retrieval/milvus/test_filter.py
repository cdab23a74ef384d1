"""A user's condition means the same in Milvus as in SQLite."""

from __future__ import annotations

import sqlite3
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.retrieval.embedder import TinyEmbedder
from tf_ssgn.errors import UserError
from tf_ssgn.retrieval.items import Item
from tf_ssgn.retrieval.milvus import writer as milvus_writer
from tf_ssgn.retrieval.milvus.connection import address
from tf_ssgn.retrieval.milvus.filter import translated

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

LABELS = ("cat", "Cat", "it's", 'a "b"', "\\", "é%_\x01\n\b", "")
SIZES = (None, -1, 0, 5, 2**40)
STARS = (None, 0, 1.5, 3)
MOODS = (None, "good", "it's")
COLUMNS = ["stars", "odd mood"]


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same rows in SQLite and in Milvus."""
    made = [
        (Item(f"i/{n}", f"/p/{n}", LABELS[n % 7], SIZES[n % 5], width=n), STARS[n % 4], MOODS[n % 3]) for n in range(60)
    ]
    database = sqlite3.connect(":memory:")
    database.execute(f'CREATE TABLE items ({", ".join(Item._fields)}, stars, "odd mood")')
    database.executemany(f"INSERT INTO items VALUES ({','.join('?' * 10)})", [(*row[0], *row[1:]) for row in made])
    where = f"milvus:{tmp_path_factory.mktemp('milvus')}/x.db/items"
    gallery = milvus_writer.open_or_create(address(where), TinyEmbedder(), columns=COLUMNS)[0]
    extra = [dict(zip(COLUMNS, values, strict=True)) for _, *values in made]
    extra = [{name: value for name, value in row.items() if value is not None} for row in extra]
    vectors = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
    milvus_writer.upsert(gallery, milvus_writer.rows_of([item for item, *_ in made], vectors, extra))
    return database, gallery


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def comparisons() -> Any:
    signs = st.sampled_from(("=", "==", "!=", "<>", "<", "<=", ">", ">="))
    pairs = st.one_of(
        st.tuples(st.sampled_from(("label", "LABEL", '"label"')), st.sampled_from(LABELS).map(text)),
        st.tuples(st.sampled_from(("size", "width", "[size]")), st.sampled_from(("-1", "0", "5", "4.5", "1e3"))),
        st.tuples(st.just("stars"), st.sampled_from(("0", "1.5", "2"))),
        st.tuples(st.just('"odd mood"'), st.sampled_from(MOODS[1:]).map(text)),
    )
    simple = st.tuples(pairs, signs).map(lambda made: f"{made[0][0]} {made[1]} {made[0][1]}")
    mirrored = st.tuples(pairs, signs).map(lambda made: f"{made[0][1]} {made[1]} {made[0][0]}")
    listed = st.tuples(pairs, pairs).map(lambda made: f"{made[0][0]} IN ({made[0][1]}, {made[0][1]})")
    nulls = st.tuples(pairs, st.sampled_from(("IS NULL", "IS NOT NULL", "ISNULL", "NOTNULL")))
    between = st.sampled_from(("size BETWEEN 0 AND 5", "width NOT BETWEEN 3 AND 40", "label NOT IN ('cat')"))
    globs = st.sampled_from(("label GLOB 'c*'", "id GLOB 'i/1*'", "label GLOB '*'"))
    return st.one_of(simple, mirrored, listed, nulls.map(lambda made: f"{made[0][0]} {made[1]}"), between, globs)


def conditions() -> Any:
    def more(inner: Any) -> Any:
        joined = st.tuples(inner, st.sampled_from(("AND", "or")), inner).map(lambda made: f"({' '.join(made)})")
        return st.one_of(joined, inner.map(lambda made: f"NOT ({made})" if "GLOB" not in made else made))

    return st.recursive(comparisons(), more, max_leaves=5)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(condition=conditions())
def test_the_same_rows_as_in_sqlite(items: Any, condition: str) -> None:
    database, gallery = items
    expected = {id for (id,) in database.execute(f"SELECT id FROM items WHERE {condition}")}
    assert {row["id"] for row in gallery.rows(translated(condition, COLUMNS), ["id"])} == expected


@pytest.mark.parametrize(
    "condition",
    [
        "", "label", "label =", "label = width", "label LIKE 'c%'", "label GLOB '*c'", "nothing = 1", "size = 'x'",
        "label = 5", "length(label) > 2", "size + 1 > 2", "(label = 'a'", "label = 'a' label = 'b'", "label NOT 5",
        "label = 'a'; drop", "id in ()", "label is 5", "1 = 1", "(" * 200 + "size > 1" + ")" * 200, "size > 1e400",
        "$meta['x'] == 1", "size > 99999999999999999999", "size IN (1", "label = \x00",
    ],
)  # fmt: skip
def test_what_milvus_does_not_have_is_refused(condition: str) -> None:
    with pytest.raises(UserError, match="received the condition"):
        translated(condition, COLUMNS)


@given(st.text(max_size=30))
def test_no_text_breaks_it(condition: str) -> None:
    try:
        assert translated(condition, COLUMNS)
    except UserError as error:
        assert "\n" not in str(error)
