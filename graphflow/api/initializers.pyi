# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.variables.initializers import (
    Constant as Constant, GlorotNormal as GlorotNormal, GlorotUniform as GlorotUniform, HeNormal as HeNormal,
    HeUniform as HeUniform, Identity as Identity, Initializer as Initializer, LecunNormal as LecunNormal,
    LecunUniform as LecunUniform, Ones as Ones, Orthogonal as Orthogonal, RandomNormal as RandomNormal,
    RandomUniform as RandomUniform, TruncatedNormal as TruncatedNormal, UniformUnitScaling as UniformUnitScaling,
    VarianceScaling as VarianceScaling, Zeros as Zeros, constant_initializer as constant_initializer,
    contrib_variance_scaling_initializer as contrib_variance_scaling_initializer,
    glorot_normal_initializer as glorot_normal_initializer, glorot_uniform_initializer as glorot_uniform_initializer,
    he_normal as he_normal, he_uniform as he_uniform, identity_initializer as identity_initializer,
    lecun_normal as lecun_normal, lecun_uniform as lecun_uniform, ones_initializer as ones_initializer,
    orthogonal_initializer as orthogonal_initializer, random_normal_initializer as random_normal_initializer,
    random_uniform_initializer as random_uniform_initializer,
    truncated_normal_initializer as truncated_normal_initializer,
    uniform_unit_scaling_initializer as uniform_unit_scaling_initializer,
    variance_scaling_initializer as variance_scaling_initializer, xavier_initializer as xavier_initializer,
    xavier_initializer_conv2d as xavier_initializer_conv2d, zeros_initializer as zeros_initializer,
)
