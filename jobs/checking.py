"""What can only be checked where the trials will run: the images, and the models for them."""

from __future__ import annotations

from pathlib import Path

import yaml

from growres.config.experiment import Experiment
from growres.config.loading import load_experiment
from growres.data.images import ImageData
from growres.data.loading import load_images, pin_source
from growres.home import growres_home
from growres.store import ExperimentRow, Store
from jobs.progress import Progress
from jobs.provenance import provenance


def check_where_it_runs(store: Store, experiment: ExperimentRow, folder: Path, progress: Progress) -> None:
    """Returns when the experiment's images are decoded and every model fits them; the store knows the data then.

    Args:
        folder: the experiment's run folder; the file as it was submitted, with --set applied, is written into it.
    Raises:
        DataError: if the images cannot be had here.
        SpecError: naming the models that cannot be made for them.
    """
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(experiment.spec, sort_keys=False))
    loaded = load_experiment(file)
    pinned = with_pinned_data(loaded.experiment)
    images = load_experiment_images(pinned, progress)
    loaded.check_models(num_classes=images.num_classes, in_channels=images.channels, image_size=images.image_size)
    pinned_dataset = pinned.dataset.model_dump(mode="json")
    for trial in store.trials(experiment.id):  # not beside the file's: PostgreSQL keeps no order of variants
        dataset = {**pinned_dataset, "label_noise": trial.config["dataset"]["label_noise"]}
        if trial.config["dataset"] != dataset:
            store.configure_trial(trial.id, {**trial.config, "dataset": dataset})
    store.add_provenance(experiment.id, provenance(images, None))


def load_experiment_images(experiment: Experiment, progress: Progress) -> ImageData:
    """The images that the experiment's file names, decoded into the cache where they are not there yet."""
    progress.note(f"preparing the images of {experiment.dataset.path or experiment.dataset.source}")
    return load_images(experiment.dataset, growres_home())


def with_pinned_data(experiment: Experiment) -> Experiment:
    """The data set as any worker, and a later resume, finds it: an absolute path, a commit for a revision."""
    dataset = pin_source(experiment.dataset, growres_home()).model_dump()
    trials = [
        {**trial.model_dump(), "dataset": {**dataset, "label_noise": trial.dataset.label_noise}}
        for trial in experiment.trials
    ]
    return Experiment.model_validate({**experiment.model_dump(), "dataset": dataset, "trials": trials})
