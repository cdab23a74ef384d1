"""The losses, each a pure function of float32 tensors that returns a scalar: the mean over the batch."""

from keras import ops


def reconstruction(synthesised, target):
    """Squared distance of unit codes `[B, d]`: `|x - t|^2 = 2 - 2 cos(x, t)`."""
    return ops.mean(ops.sum(ops.square(synthesised - target), axis=-1))


def kl(mean, log_variance):
    """KL(N(mean, exp(log_variance)) || N(0, 1)) over `[B, L]`, summed over L (Kingma and Welling 2014, appendix B)."""
    return ops.mean(0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance, axis=-1))


def cosine_distance(predicted, target):
    """`1 - cos` of unit vectors `[B, s]`: the regression and the semantic loss."""
    return ops.mean(1.0 - ops.sum(predicted * target, axis=-1))


def classification(codes, prototypes, labels, temperature):
    """Cross-entropy of a cosine classifier: unit codes `[B, d]`, unit class prototypes `[C, d]`, labels int32 `[B]`;
    the cosines are divided by the temperature."""
    logits = codes @ ops.transpose(prototypes) / temperature
    picked = ops.take_along_axis(logits, labels[:, None], axis=-1)[:, 0]
    return ops.mean(ops.logsumexp(logits, axis=-1) - picked)


def contrastive(queries, gallery, labels, temperature):
    """Supervised contrast between two sets of unit codes `[B, d]` (Khosla et al. 2020), both directions: row i should
    be nearer to every code of the other set with its label than to those of other labels."""
    logits = queries @ ops.transpose(gallery) / temperature
    same = ops.cast(ops.equal(labels[:, None], labels[None, :]), "float32")

    def one_way(scores):
        log_share = scores - ops.logsumexp(scores, axis=-1, keepdims=True)
        return -ops.mean(ops.sum(same * log_share, axis=-1) / ops.sum(same, axis=-1))

    return 0.5 * (one_way(logits) + one_way(ops.transpose(logits)))


def preservation(codes, prototypes, soft, temperature):
    """Cross-entropy of a cosine classifier, as above, over the teacher's `[T, d]` unit prototypes, against the
    teacher's soft labels `[B, T]` (Liu et al. 2019, eq. 5)."""
    logits = codes @ ops.transpose(prototypes) / temperature
    return ops.mean(ops.logsumexp(logits, axis=-1) - ops.sum(soft * logits, axis=-1))
