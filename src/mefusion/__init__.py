"""mefusion: an experiment suite for facial micro-expression recognition."""

import lazy_loader

__version__ = "0.2.0"

# Imported when they are first asked for, so that the commands start at once.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clips.motion": ["dynamic_image", "optical_strain", "tvl1_flow"],
        "common.errors": ["MefusionError"],
        "evaluation.predictions": ["load_predictions"],
        "evaluation.scoring": ["score"],
        "faces.alignment": ["align_face"],
        "inference.predictor": ["load_bundle"],
        "spotting.api": ["spot"],
    },
)
