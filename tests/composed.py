"""Configurations as the commands compose them."""

from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from mefusion.configuration.cli import ExperimentsSearchPath, configuration_folder
from mefusion.configuration.composition import resolve_experiment
from mefusion.configuration.schema import register_schemas


def config_of(*overrides, name="train", hydra=False):
    """A command's configuration object."""
    register_schemas()
    Plugins.instance().register(ExperimentsSearchPath)
    with initialize_config_dir(str(configuration_folder("conf")), version_base="1.3"):
        return compose(name, overrides=list(overrides), return_hydra_config=hydra)


def settings_of(*overrides, name="train"):
    """The same as typed settings."""
    return OmegaConf.to_object(config_of(*overrides, name=name))


def experiment_of(*overrides):
    """What `mefusion-train` is run with."""
    return resolve_experiment(config_of(*overrides))
