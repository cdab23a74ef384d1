"""The model of a finished run, from the items of a dataset to codes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_ssgn.common.folders import cache_folder
from tf_ssgn.common.vectors import unit
from tf_ssgn.data.datasets.items import Example
from tf_ssgn.errors import UserError
from tf_ssgn.runtime.features import FeatureCache
from tf_ssgn.training.fit import restore_trainer
from tf_ssgn.training.images import Images, encode_taps, read_images
from tf_ssgn.training.run_folder import Run


class RunEncoder:
    """Images of a dataset to the codes of a run's model. None is the run's own number of views, and the user's feature
    `cache`."""

    def __init__(self, run: Run, views: int | None = None, photo_views: int | None = None, cache: str | None = None):
        own = run.config.evaluation
        self.run = run
        self.views = {
            "sketch": own.views if views is None else views,
            "photo": own.photo_views if photo_views is None else photo_views,
        }
        self.trainer = restore_trainer(run)
        folder = None if self.trainer.finetuned else Path(cache) if cache else cache_folder()
        self.features = FeatureCache(folder, self.trainer.backbone, run.config.model.backbone)

    def images(self, items: Sequence[Example], classes: Sequence[str]) -> Images:
        """The readable items of some classes with their taps."""
        wanted = set(classes)
        chosen = [item for item in items if item.label in wanted]
        if not chosen:
            raise UserError(f"the dataset has no images of the classes to evaluate, such as {sorted(wanted)[0]!r}")
        config = self.run.config
        views = self.views[chosen[0].modality]
        return read_images(self.features, chosen, views, config.data.max_bad_files, bool(config.model.contours))

    def codes(self, images: Images, semantics: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What `SSGN.retrieve` gives, averaged over the views; for photos `code`."""
        views = range(images.taps.shape[1])
        parts = [encode_taps(self.trainer, images.taps[:, view], images.modality, semantics) for view in views]
        return {key: unit(np.sum([part[key] for part in parts], axis=0)) for key in parts[0]}
