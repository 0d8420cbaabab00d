# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.random.sampling import (
    get_seed as get_seed, normal as normal, set_random_seed as set_random_seed, set_seed as set_seed,
    truncated_normal as truncated_normal, uniform as uniform,
)
from graphflow.ops.random.choices import categorical as categorical, multinomial as multinomial, shuffle as shuffle
