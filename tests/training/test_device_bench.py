"""`bench device` on the small part."""

import keras
import pytest

from tf_ssgn.benchmarks import device
from tf_ssgn.errors import UserError


def test_every_network_has_its_speed_and_its_share() -> None:
    if keras.backend.backend() != "jax":
        with pytest.raises(UserError, match="expected JAX: set KERAS_BACKEND=jax"):
            device.run(False)
        return
    figures = device.run(False)
    rows = {name: values for name, values in figures.items() if "," in name}
    assert len(rows) == 2 * (1 + 2) and figures["device"]
    for name, values in rows.items():
        assert values["tflops"] > 0
        if not name.startswith("matrix"):
            own = figures[f"matrix product, {name.rsplit(', ', 1)[1]}"]["tflops"]
            assert values["share"] == pytest.approx(values["tflops"] / own) and values["images_per_s"] > 0
