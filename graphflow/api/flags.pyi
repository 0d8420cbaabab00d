# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.platform.flags import (
    DEFINE_bool as DEFINE_bool, DEFINE_boolean as DEFINE_boolean, DEFINE_enum as DEFINE_enum,
    DEFINE_float as DEFINE_float, DEFINE_integer as DEFINE_integer, DEFINE_list as DEFINE_list,
    DEFINE_multi_string as DEFINE_multi_string, DEFINE_string as DEFINE_string,
    DuplicateFlagError as DuplicateFlagError, Error as Error, FLAGS as FLAGS, Flag as Flag, FlagValues as FlagValues,
    IllegalFlagValueError as IllegalFlagValueError, UnrecognizedFlagError as UnrecognizedFlagError,
    mark_flag_as_required as mark_flag_as_required, mark_flags_as_required as mark_flags_as_required,
)
