"""Importing this registers the classes that saved models name, so that `keras.saving.load_model` finds them."""

import keras

from youtube8m_mod import layers, metrics, models

REGISTERED = [
    *(getattr(layers, name) for name in layers.__all__),
    *(getattr(metrics, name) for name in metrics.__all__),
    *(models.DBoFModel, models.Mixture, models.NeXtVLADModel),
]
if keras.backend.backend() == "tensorflow":
    from youtube8m_mod.models.mod import MOD
    from youtube8m_mod.training.optimizer import FusedAdam, StaircaseDecay

    REGISTERED += [MOD, FusedAdam, StaircaseDecay]
