# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.random.sampling import (
    categorical as categorical, get_seed as get_seed, multinomial as multinomial, normal as normal,
    set_random_seed as set_random_seed, set_seed as set_seed, shuffle as shuffle, truncated_normal as truncated_normal,
    uniform as uniform,
)
