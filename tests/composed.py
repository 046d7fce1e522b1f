"""Configurations as the commands compose them."""

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mefusion.configuration.cli import configuration_folder, prepare_hydra
from mefusion.configuration.composition import resolve_experiment


def config_of(*overrides, name="train", hydra=False):
    """A command's configuration object."""
    prepare_hydra(name)
    with initialize_config_dir(str(configuration_folder("conf")), version_base="1.3"):
        return compose(name, overrides=list(overrides), return_hydra_config=hydra)


def settings_of(*overrides, name="train"):
    """The same as typed settings."""
    return OmegaConf.to_object(config_of(*overrides, name=name))


def experiment_of(*overrides):
    """What `mefusion-train` is run with."""
    return resolve_experiment(config_of(*overrides))
