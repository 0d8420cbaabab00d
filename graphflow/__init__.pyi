# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.framework.graph import Graph as Graph, Operation as Operation, Tensor as Tensor
from graphflow.framework.indexed_slices import IndexedSlices as IndexedSlices, IndexedSlicesValue as IndexedSlicesValue
from graphflow.framework.build import convert_to_tensor as convert_to_tensor, name_scope as name_scope
from graphflow.framework.context import (
    get_default_graph as get_default_graph, get_default_session as get_default_session,
    reset_default_graph as reset_default_graph,
)
from graphflow.framework.default_graph import (
    add_to_collection as add_to_collection, add_to_collections as add_to_collections, colocate_with as colocate_with,
    control_dependencies as control_dependencies, device as device, get_collection as get_collection,
    get_collection_ref as get_collection_ref, op_scope as op_scope,
)
from graphflow.framework.dtypes import (
    DType as DType, as_dtype as as_dtype, bfloat16 as bfloat16, float16 as float16, float32 as float32,
    float64 as float64, int8 as int8, int16 as int16, int32 as int32, int64 as int64, string as string, uint8 as uint8,
    uint16 as uint16, uint32 as uint32, uint64 as uint64, bool_ as bool, float16 as half, float64 as double,
)
from graphflow.framework.errors import OpError as OpError
from graphflow.framework.shapes import Dimension as Dimension, TensorShape as TensorShape
from graphflow.framework.config import (
    ConfigProto as ConfigProto, GPUOptions as GPUOptions, GraphOptions as GraphOptions,
    OptimizerOptions as OptimizerOptions, RunMetadata as RunMetadata, RunOptions as RunOptions,
)
from graphflow.compat.behavior import (
    disable_control_flow_v2 as disable_control_flow_v2, disable_eager_execution as disable_eager_execution,
    disable_resource_variables as disable_resource_variables, disable_tensor_equality as disable_tensor_equality,
    disable_v2_behavior as disable_v2_behavior, disable_v2_tensorshape as disable_v2_tensorshape,
    enable_eager_execution as enable_eager_execution, enable_v2_behavior as enable_v2_behavior,
    executing_eagerly as executing_eagerly,
)
from graphflow.framework.sparse_tensor import SparseTensor as SparseTensor, SparseTensorValue as SparseTensorValue
from graphflow.ops.sparse.sparse_placeholder import sparse_placeholder as sparse_placeholder
from graphflow.ops.array.source import (
    constant as constant, placeholder as placeholder, placeholder_with_default as placeholder_with_default,
)
from graphflow.ops.math.unary import (
    abs as abs, ceil as ceil, digamma as digamma, erf as erf, erfc as erfc, exp as exp, expm1 as expm1, floor as floor,
    is_finite as is_finite, is_inf as is_inf, is_nan as is_nan, lgamma as lgamma, log as log, log1p as log1p,
    negative as negative, reciprocal as reciprocal, rint as rint, round as round, rsqrt as rsqrt, sign as sign,
    sqrt as sqrt, square as square, negative as neg,
)
from graphflow.ops.math.zeta import polygamma as polygamma, zeta as zeta
from graphflow.ops.math.trigonometry import (
    acos as acos, acosh as acosh, asin as asin, asinh as asinh, atan as atan, atan2 as atan2, atanh as atanh,
    cos as cos, cosh as cosh, sin as sin, sinh as sinh, tan as tan,
)
from graphflow.ops.nn.activation import log_sigmoid as log_sigmoid, sigmoid as sigmoid, tanh as tanh
from graphflow.ops.math.binary import (
    add as add, div as div, div_no_nan as div_no_nan, divide as divide, floor_div as floor_div, floordiv as floordiv,
    floormod as floormod, maximum as maximum, minimum as minimum, mod as mod, multiply as multiply, pow as pow,
    realdiv as realdiv, scalar_mul as scalar_mul, squared_difference as squared_difference, subtract as subtract,
    truediv as truediv, truncatediv as truncatediv, truncatemod as truncatemod, multiply as mul, subtract as sub,
)
from graphflow.ops.math.compare import (
    equal as equal, greater as greater, greater_equal as greater_equal, less as less, less_equal as less_equal,
    logical_and as logical_and, logical_not as logical_not, logical_or as logical_or, logical_xor as logical_xor,
    not_equal as not_equal,
)
from graphflow.ops.math.select import where as where, where_v2 as where_v2, where as select
from graphflow.ops.math.cast import (
    bitcast as bitcast, cast as cast, to_bfloat16 as to_bfloat16, to_double as to_double, to_float as to_float,
    to_int32 as to_int32, to_int64 as to_int64,
)
from graphflow.ops.math.clip import (
    saturate_cast as saturate_cast, clip_by_value as clip_by_value, clip_by_average_norm as clip_by_average_norm,
    clip_by_global_norm as clip_by_global_norm, clip_by_norm as clip_by_norm, global_norm as global_norm,
)
from graphflow.ops.math.add_n import accumulate_n as accumulate_n, add_n as add_n
from graphflow.ops.math.matmul import matmul as matmul, matmul as batch_matmul
from graphflow.ops.math.einsum import einsum as einsum, tensordot as tensordot
from graphflow.ops.math.reduce import (
    reduce_all as reduce_all, reduce_any as reduce_any, reduce_max as reduce_max, reduce_mean as reduce_mean,
    reduce_min as reduce_min, reduce_prod as reduce_prod, reduce_sum as reduce_sum,
)
from graphflow.ops.math.statistics import (
    count_nonzero as count_nonzero, norm as norm, reduce_logsumexp as reduce_logsumexp,
)
from graphflow.ops.math.argmax import arg_max as arg_max, arg_min as arg_min, argmax as argmax, argmin as argmin
from graphflow.ops.math.cumulative import cumprod as cumprod, cumsum as cumsum
from graphflow.ops.array.reshape import expand_dims as expand_dims, reshape as reshape, squeeze as squeeze
from graphflow.ops.array.identity import identity as identity, identity_n as identity_n, stop_gradient as stop_gradient
from graphflow.ops.array.diagonal import (
    diag as diag, diag_part as diag_part, matrix_band_part as matrix_band_part, matrix_diag as matrix_diag,
    matrix_diag_part as matrix_diag_part, matrix_set_diag as matrix_set_diag, trace as trace, eye as eye,
)
from graphflow.ops.array.movement import (
    broadcast_to as broadcast_to, matrix_transpose as matrix_transpose, reverse as reverse, roll as roll, tile as tile,
    transpose as transpose, reverse as reverse_v2,
)
from graphflow.ops.array.shape import rank as rank, shape as shape, shape_n as shape_n, size as size
from graphflow.ops.array.fill import (
    fill as fill, ones as ones, ones_like as ones_like, zeros as zeros, zeros_like as zeros_like,
)
from graphflow.ops.array.range import lin_space as lin_space, linspace as linspace, range as range, meshgrid as meshgrid
from graphflow.ops.array.concat import (
    concat as concat, parallel_stack as parallel_stack, stack as stack, concat as concat_v2, stack as pack,
)
from graphflow.ops.array.pad import pad as pad
from graphflow.ops.array.split import split as split, unstack as unstack, unstack as unpack
from graphflow.ops.array.strided_slice import strided_slice as strided_slice, newaxis as newaxis
from graphflow.ops.array.slicing import slice_ as slice
from graphflow.ops.array.gather import (
    batch_gather as batch_gather, boolean_mask as boolean_mask, gather as gather, gather_nd as gather_nd,
)
from graphflow.ops.array.one_hot_where_unique import (
    one_hot as one_hot, sequence_mask as sequence_mask, unique as unique, unique_with_counts as unique_with_counts,
)
from graphflow.ops.array.ordered_ids import invert_permutation as invert_permutation, segment_sum as segment_sum
from graphflow.ops.array.scatter import (
    scatter_nd as scatter_nd, tensor_scatter_add as tensor_scatter_add, tensor_scatter_sub as tensor_scatter_sub,
    tensor_scatter_update as tensor_scatter_update, unsorted_segment_sum as unsorted_segment_sum,
)
from graphflow.ops.random.sampling import (
    get_seed as get_seed, random_normal as random_normal, random_uniform as random_uniform,
    set_random_seed as set_random_seed, truncated_normal as truncated_normal,
)
from graphflow.ops.random.choices import multinomial as multinomial, random_shuffle as random_shuffle
from graphflow.ops.control_flow.control import (
    Assert as Assert, Print as Print, check_numerics as check_numerics, group as group, no_op as no_op,
    numpy_function as numpy_function, py_func as py_func, tuple as tuple,
    verify_tensor_all_finite as verify_tensor_all_finite,
)
from graphflow.ops.control_flow.assertions import (
    assert_equal as assert_equal, assert_greater as assert_greater, assert_greater_equal as assert_greater_equal,
    assert_integer as assert_integer, assert_less as assert_less, assert_less_equal as assert_less_equal,
    assert_near as assert_near, assert_negative as assert_negative, assert_non_negative as assert_non_negative,
    assert_non_positive as assert_non_positive, assert_none_equal as assert_none_equal,
    assert_positive as assert_positive, assert_proper_iterable as assert_proper_iterable, assert_rank as assert_rank,
    assert_rank_at_least as assert_rank_at_least, assert_scalar as assert_scalar, assert_type as assert_type,
    is_non_decreasing as is_non_decreasing, is_numeric_tensor as is_numeric_tensor,
    is_strictly_increasing as is_strictly_increasing,
)
from graphflow.autodiff.gradients import (
    AggregationMethod as AggregationMethod, NoGradient as NoGradient, NotDifferentiable as NotDifferentiable,
    RegisterGradient as RegisterGradient, UnconnectedGradients as UnconnectedGradients,
    custom_gradient as custom_gradient, gradients as gradients, hessians as hessians,
)
from graphflow.framework.graph_keys import GraphKeys as GraphKeys
from graphflow.variables.variable import (
    Variable as Variable, VariableAggregation as VariableAggregation,
    VariableSynchronization as VariableSynchronization, all_variables as all_variables,
    global_variables as global_variables, global_variables_initializer as global_variables_initializer,
    init_scope as init_scope, initialize_all_variables as initialize_all_variables,
    initialize_local_variables as initialize_local_variables, initialize_variables as initialize_variables,
    is_variable_initialized as is_variable_initialized, local_variables as local_variables,
    local_variables_initializer as local_variables_initializer, model_variables as model_variables,
    moving_average_variables as moving_average_variables,
    report_uninitialized_variables as report_uninitialized_variables, trainable_variables as trainable_variables,
    variables_initializer as variables_initializer,
)
from graphflow.variables.scope import (
    AUTO_REUSE as AUTO_REUSE, VariableScope as VariableScope, get_local_variable as get_local_variable,
    get_variable as get_variable, get_variable_scope as get_variable_scope, no_regularizer as no_regularizer,
    variable_op_scope as variable_op_scope, variable_scope as variable_scope,
)
from graphflow.variables.partitioned import (
    create_partitioned_variables as create_partitioned_variables, fixed_size_partitioner as fixed_size_partitioner,
    min_max_variable_partitioner as min_max_variable_partitioner,
    variable_axis_size_partitioner as variable_axis_size_partitioner,
)
from graphflow.variables.template import make_template as make_template
from graphflow.ops.state.variable import (
    assign as assign, assign_add as assign_add, assign_sub as assign_sub, count_up_to as count_up_to,
)
from graphflow.ops.state.rows import (
    scatter_add as scatter_add, scatter_div as scatter_div, scatter_max as scatter_max, scatter_min as scatter_min,
    scatter_mul as scatter_mul, scatter_nd_add as scatter_nd_add, scatter_nd_sub as scatter_nd_sub,
    scatter_nd_update as scatter_nd_update, scatter_sub as scatter_sub, scatter_update as scatter_update,
)
from graphflow.variables.initializers import (
    constant_initializer as constant_initializer, glorot_normal_initializer as glorot_normal_initializer,
    glorot_uniform_initializer as glorot_uniform_initializer, ones_initializer as ones_initializer,
    orthogonal_initializer as orthogonal_initializer, random_normal_initializer as random_normal_initializer,
    random_uniform_initializer as random_uniform_initializer,
    truncated_normal_initializer as truncated_normal_initializer,
    uniform_unit_scaling_initializer as uniform_unit_scaling_initializer,
    variance_scaling_initializer as variance_scaling_initializer, zeros_initializer as zeros_initializer,
)
from graphflow_runtime.session.session import InteractiveSession as InteractiveSession, Session as Session
from graphflow_runtime.profiling.profile import Profile as Profile, ProfileRow as ProfileRow
from graphflow.tools.explain import explain as explain, plan_to_dot as plan_to_dot
from graphflow.io import load as load, save as save
from graphflow.version import VERSION as VERSION
from graphflow.version import __version__ as __version__
from graphflow.api import app as app
from graphflow.api import bitwise as bitwise
from graphflow.api import config as config
from graphflow.api import custom_ops as custom_ops
from graphflow.api import dtypes as dtypes
from graphflow.api import errors as errors
from graphflow.api import flags as flags
from graphflow.api import gfile as gfile
from graphflow.api import initializers as initializers
from graphflow.api import linalg as linalg
from graphflow.api import logging as logging
from graphflow.api import math as math
from graphflow.api import nn as nn
from graphflow.api import random as random
from graphflow.api import regularizers as regularizers
from graphflow.api import shapes as shapes
from graphflow.api import timeline as timeline
from graphflow import compat as compat
from graphflow import compiler as compiler
from graphflow import io as io
from graphflow import layers as layers
from graphflow import losses as losses
from graphflow import metrics as metrics
from graphflow import ops as ops
from graphflow import runtime as runtime
from graphflow import train as train
from graphflow import viz as viz
