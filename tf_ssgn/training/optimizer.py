"""The optimiser: AdamW in one kernel a variable, and its schedule in one expression.

What Keras ships gives the same numbers; on a CPU it is a dozen passes over every variable, and a branch of the
graph for each of them, which took as long as a third of the step and most of the time before the first one.
"""

import math

import keras
from keras import ops

from tf_ssgn.training import replicas


@keras.saving.register_keras_serializable("tf_ssgn")
class WarmUpCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Rises in a line from 0 to `peak` within the share `warm_up` of all optimiser steps, then falls to 0 along half a
    cosine (Loshchilov and Hutter 2017), and stays there."""

    def __init__(self, peak: float, steps: int, warm_up: float):
        super().__init__()
        self.peak, self.steps, self.warm_up = peak, steps, warm_up

    def __call__(self, step):
        rising, falling = (max(1, round(self.steps * share)) for share in (self.warm_up, 1.0 - self.warm_up))
        step = ops.cast(step, "float32")
        fallen = ops.clip((step - rising) / falling, 0.0, 1.0)
        return self.peak * ops.minimum(step / rising, 0.5 * (1.0 + ops.cos(math.pi * fallen)))

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warm_up": self.warm_up}


@keras.saving.register_keras_serializable("tf_ssgn")
class AdamW(keras.optimizers.Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019) of every variable: `decay` is the share that a
    learning rate of 1 would take off in a step. Gradients whose norm over all variables is above `clip` are scaled down
    to it; 0 never."""

    def __init__(self, learning_rate, decay: float, clip: float):
        super().__init__(learning_rate, global_clipnorm=clip or None)
        self.decay = decay

    def apply(self, grads, trainable_variables=None) -> None:
        """As always, with the gradients of several replicas added up first: the norm is that of their sum."""
        context = replicas.context()
        if context is not None:
            import tensorflow as tf

            grads = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        if keras.backend.backend() == "tensorflow":
            # Here, not in the update of every variable, where they are a tenth of the graph.
            done = ops.cast(self.iterations + 1, "float32")
            kept = 1.0 - self.decay * self._get_current_learning_rate()
            self._shared = kept, self.beta_1**done, self.beta_2**done
        super().apply(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """Of Keras, on TensorFlow, which would add them up again."""
        return grads_and_vars

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() != "tensorflow":
            self.assign(variable, variable * (1.0 - self.decay * learning_rate))
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        kept, beta1_power, beta2_power = self._shared
        self.assign(variable, variable * kept)
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=ops.cast(gradient, variable.dtype),
        )

    def get_config(self):
        rate = super().get_config()["learning_rate"]
        return {"learning_rate": rate, "decay": self.decay, "clip": self.global_clipnorm or 0.0}
