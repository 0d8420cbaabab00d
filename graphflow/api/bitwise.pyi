# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.math.bitwise import (
    bitwise_and as bitwise_and, bitwise_or as bitwise_or, bitwise_xor as bitwise_xor, invert as invert,
    left_shift as left_shift, right_shift as right_shift,
)
