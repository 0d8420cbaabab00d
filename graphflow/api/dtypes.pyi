# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.framework.dtypes import (
    DType as DType, as_dtype as as_dtype, bfloat16 as bfloat16, bool_ as bool_, float16 as float16, float32 as float32,
    float64 as float64, int8 as int8, int16 as int16, int32 as int32, int64 as int64, string as string, uint8 as uint8,
    uint16 as uint16, uint32 as uint32, uint64 as uint64, ALL as ALL, FLOATS as FLOATS, HALVES as HALVES,
    INTEGERS as INTEGERS, NUMERIC as NUMERIC, SIGNED as SIGNED, UNSIGNED as UNSIGNED,
)
