"""Weights of other systems, in and out: text and arrays to `LinearWeights`, and back.

    weights          the common form, the spelling of features, the formula w = f(z, n)
    vowpal_wabbit    --invert_hash and --readable_model
    alphafm          alphaFM's text model, without factors
    arrays           Keras and TensorFlow slots; coefficients of scikit-learn

`ftrl_core.synthesis` makes a model of the common form and takes it from one. It has kernels, and
so stands in the folder above, where the cache of compiled kernels looks for them.
"""

from ftrl_core.interchange.alphafm import read_alphafm, write_alphafm
from ftrl_core.interchange.arrays import read_arrays, write_arrays, write_coefficients
from ftrl_core.interchange.vowpal_wabbit import read_vw, vw_index, write_vw
from ftrl_core.interchange.weights import Feature, LinearWeights, feature_of, text_of

__all__ = [
    "Feature",
    "LinearWeights",
    "feature_of",
    "read_alphafm",
    "read_arrays",
    "read_vw",
    "text_of",
    "vw_index",
    "write_alphafm",
    "write_arrays",
    "write_coefficients",
    "write_vw",
]
