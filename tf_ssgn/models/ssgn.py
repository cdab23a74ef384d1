"""SSGN: from the taps of a sketch, synthesise the code of the photo it depicts.

    taps ─▶ F_s ─▶ h ─▶ S ─▶ a_hat ─▶ coarse decoder (z1) ─▶ x_c ─▶ fine decoder (h, z2) ─▶ x_f
    taps ─▶ F_p ─▶ photo code ◀─ F_c ◀─ taps of the photo's contours

What the abstract fixes and what was chosen here: docs/reconstruction.md.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from tf_ssgn import config as configuration
from tf_ssgn.errors import UserError
from tf_ssgn.models.decoder import build_decoder, build_posterior, build_projector
from tf_ssgn.models.fusion import build_fusion, unit


def normal(shape: Any, seed: keras.random.SeedGenerator, parts: int) -> Any:
    """Standard normal draws float32 of a shape; training on several devices has its own (`training.replicas`). The rows
    consist of equal `parts`: pairs of sketches, and with contours pairs of those."""
    return keras.random.normal(shape, dtype="float32", seed=seed)


class SSGN(keras.Model):
    """All networks of the method over pooled taps; the backbone is outside (`models.backbones`).

    Sizes: B batch, D taps, d code, s semantics, C seen classes, L latent, K draws. The taps of a photo are `[B, P]`:
    D of its own and, if the config has contours, D of its contour drawing (`models.contours`) after them.

    Args:
        moving: the backbone is trained too (`fusion.Standardise`).
        normal: where the latent draws come from, see `normal`.

    Attributes:
        noise: float32 `[K, 2, L]`, the draws of z1 and z2 that every retrieval code averages over. They are
            weights, saved with the model, so the same sketch always gives the same code.
        centres: float32 `[C, d]`, running mean photo code of each seen class, the target of the coarse stage.
    """

    def __init__(
        self,
        config: configuration.Model,
        taps: int,
        semantic: int,
        classes: int,
        seed: int = 0,
        moving: bool = False,
        normal: Callable[..., Any] = normal,
    ):
        super().__init__(name="ssgn")
        self.config, self.normal = config, normal
        if config.kept >= config.code:
            raise UserError(f"--model.kept: received {config.kept}, expected fewer than model.code {config.code}")
        code, hidden, latent = config.code, config.hidden, config.latent
        self.taps = taps
        self.fuse_sketch, self.fuse_photo, contour = build_fusion(
            taps, code, config.fusion, config.kept, moving, config.kept_weight
        )
        if config.contours:
            self.fuse_contour = contour
        self.project = build_projector("semantic_projector", code, hidden, semantic)
        self.regress = build_projector("semantic_regressor", code, 0, semantic)
        if config.coarse:
            self.coarse_posterior = build_posterior(
                "coarse_posterior", {"photo": code, "semantics": semantic}, hidden, latent
            )
            self.coarse_decoder = build_decoder(
                "coarse_decoder", {"z": latent, "semantics": semantic}, "sketch", hidden, code, config.residual
            )
        if config.fine:
            hint = {"coarse": code} if config.coarse else {}
            self.fine_posterior = build_posterior(
                "fine_posterior", {"photo": code, "sketch": code, **hint}, hidden, latent
            )
            self.fine_decoder = build_decoder(
                "fine_decoder", {"z": latent, "sketch": code, **hint}, "sketch", hidden, code, config.residual
            )
        if config.told:
            self.told = self.add_weight(name="told", shape=(semantic, code), initializer="zeros", trainable=False)
        trained = code - config.kept
        self.prototypes = self.add_weight(name="prototypes", shape=(classes, trained), initializer="glorot_uniform")
        self.centres = self.add_weight(name="centres", shape=(classes, code), initializer="zeros", trainable=False)
        self.noise = self.add_weight(
            name="noise", shape=(config.samples, 2, latent), initializer="zeros", trainable=False
        )
        self.noise.assign(np.random.default_rng(seed).standard_normal(self.noise.shape).astype("float32"))
        self.seed = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Everything the losses look at, for a batch of sketch-photo pairs of seen classes.

        Args:
            inputs: `sketch` taps `[B, D]`, `photo` taps `[B, P]`, `semantics` unit class vectors `[B, s]`. With
                contours every photo makes a second pair with its own contours as the sketch, so
                that what is returned has `2 B` rows.

        Returns:
            Codes `[B, d]`: `sketch`, `photo`, `target` (what the photo is in a gallery); `coarse` and `fine` decoded as
            at test time (from prior draws and the predicted semantics); `coarse_reconstruction` and
            `fine_reconstruction` decoded from the posteriors, whose `..._mean` and `..._log_variance` are `[B, L]`;
            `semantics` a_hat `[B, s]`.
            Parts that the config switches off are absent.
        """
        sketch = self.fuse_sketch(inputs["sketch"], training=training)
        photo = self.fuse_photo(inputs["photo"][:, : self.taps], training=training)
        semantics, target = inputs["semantics"], photo
        if self.config.contours:
            contour = self.fuse_contour(inputs["photo"][:, self.taps :], training=training)
            target = unit(photo + self.config.contours * contour)
            target = ops.concatenate([target, target])
            sketch, photo = ops.concatenate([sketch, contour]), ops.concatenate([photo, photo])
            semantics = ops.concatenate([semantics, semantics])
        # The decoders learn from the codes but do not shape them: through them a code would fit the seen classes.
        real, sketch = sketch, ops.stop_gradient(sketch)
        predicted = self.project(sketch, training=training)
        target = ops.stop_gradient(target)
        out = {"sketch": real, "photo": photo, "target": target, "semantics": predicted}

        # The reconstruction path: posterior draws, the true class vector. It is what makes the model a CVAE.
        hint = {}
        if self.config.coarse:
            out["coarse_mean"], out["coarse_log_variance"] = self.coarse_posterior(
                {"photo": target, "semantics": semantics}
            )
            z = self._draw(out["coarse_mean"], out["coarse_log_variance"])
            out["coarse_reconstruction"] = self._coarse(z, semantics, sketch)
            hint = {"coarse": out["coarse_reconstruction"]}
        if self.config.fine:
            out["fine_mean"], out["fine_log_variance"] = self.fine_posterior(
                {"photo": target, "sketch": sketch, **hint}
            )
            z = self._draw(out["fine_mean"], out["fine_log_variance"])
            out["fine_reconstruction"] = self._fine(z, hint, sketch)

        # The synthesis path: what happens at test time, so that the other losses shape what is retrieved with.
        # (The hybrid objective of Sohn et al. 2015 against the gap between training and test of a CVAE.)
        zeros = ops.zeros((ops.shape(sketch)[0], self.config.latent))
        hint = {}
        if self.config.coarse:
            out["coarse"] = self._coarse(self._draw(zeros, zeros), predicted, sketch)
            hint = {"coarse": out["coarse"]}
        if self.config.fine:
            out["fine"] = self._fine(self._draw(zeros, zeros), hint, sketch)
        return out

    def retrieve(self, taps: Any, semantics: Any = None, fine: bool = True) -> dict[str, Any]:
        """The deterministic codes of sketches from their taps `[B, D]`.

        Args:
            fine: False stops after the coarse stage.
            semantics: class vectors `[B, s]` that are given, a zero row where none is. With `told` in the config they
                add what the guide of this mode makes of them to both stages' codes; without, they stand in for a_hat.
                The true vector of a query gives away its class: in an evaluation a row of its own, never a result.

        Returns:
            `sketch` h, `coarse` and `fine` (unit means of the K decoded draws) `[B, d]`, `semantics` `[B, s]`, and
            `code`, the retrieval code `[B, d]`: the last of them that the config has.
        """
        sketch = self.fuse_sketch(taps, training=False)
        predicted = self.project(sketch, training=False)
        vectors = None if semantics is None else ops.convert_to_tensor(semantics)
        condition = predicted if vectors is None or self.config.told else vectors
        codes = self.synthesise(
            sketch,
            condition,
            lambda draw, stage: self._noise(draw, stage, sketch),
            lambda codes, stage: self._with_word(unit(sum(codes)), vectors),
            fine,
        )
        return {"sketch": sketch, "semantics": predicted, "code": [sketch, *codes.values()][-1], **codes}

    def synthesise(
        self,
        sketch: Any,
        semantics: Any,
        draw: Callable[[int, int], Any],
        mean: Callable[[list, str], Any],
        fine: bool = True,
    ) -> dict[str, Any]:
        """`coarse` and `fine` codes `[B, d]` of the stages that the config has, each the mean of its K decoded codes.

        Of tensors or the symbols of a functional model. `draw` gives z `[B, L]` of one of the K draws and a stage, 0 or
        1; `mean` the unit mean of codes, with the stage's name.
        """
        coarse_codes, fine_codes = [], []
        for number in range(self.config.samples):
            hint = {}
            if self.config.coarse:
                coarse_codes.append(self._coarse(draw(number, 0), semantics, sketch))
                hint = {"coarse": coarse_codes[-1]}
            if self.config.fine and fine:
                fine_codes.append(self._fine(draw(number, 1), hint, sketch))
        stages = {"coarse": coarse_codes, "fine": fine_codes}
        return {stage: mean(codes, stage) for stage, codes in stages.items() if codes}

    def _with_word(self, code, semantics):
        if semantics is None or not self.config.told:
            return code
        return unit(code + semantics @ ops.convert_to_tensor(self.told))

    def trained(self, code: Any) -> Any:
        """The part of codes `[B, d]` that training shapes, of unit length: all of it unless the config keeps some."""
        return unit(code[:, : -self.config.kept]) if self.config.kept else code

    def photo_code(self, taps: Any) -> Any:
        """The code of photos: their taps `[B, P]` to unit `[B, d]`."""
        code = self.fuse_photo(taps[:, : self.taps], training=False)
        if not self.config.contours:
            return code
        return unit(code + self.config.contours * self.fuse_contour(taps[:, self.taps :], training=False))

    def _coarse(self, z, semantics, sketch):
        return self.coarse_decoder(_only(self.coarse_decoder, {"z": z, "semantics": semantics, "sketch": sketch}))

    def _fine(self, z, hint, sketch):
        return self.fine_decoder({"z": z, "sketch": sketch, **hint})

    def _draw(self, mean, log_variance):
        """One draw of N(mean, exp(log_variance)), by the reparametrisation trick."""
        noise = self.normal(ops.shape(mean), self.seed, parts=2 if self.config.contours else 1)
        return mean + ops.exp(0.5 * log_variance) * noise

    def _noise(self, draw: int, stage: int, like):
        row = ops.convert_to_tensor(self.noise)[draw, stage]
        return ops.broadcast_to(row[None, :], (ops.shape(like)[0], self.config.latent))


def _only(model: keras.Model, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs that a functional model was built with: without residuals the coarse decoder takes no sketch."""
    return {key: value for key, value in inputs.items() if key in model.input}
