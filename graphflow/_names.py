"""Where each public name lives. `graphflow.__getattr__` loads a module when one of its names is first used.

The block for type checkers in `__init__.py` says the same; tests/test_import.py keeps the two equal.
"""

from __future__ import annotations

_MODULES: dict[str, str] = {
    "graphflow.core.graph": "Graph Operation Tensor",
    "graphflow.core.indexed_slices": "IndexedSlices IndexedSlicesValue",
    "graphflow.core.build": "convert_to_tensor name_scope",
    "graphflow.core.context": "get_default_graph get_default_session reset_default_graph",
    "graphflow.default_graph": """
        add_to_collection add_to_collections colocate_with control_dependencies device get_collection
        get_collection_ref op_scope
    """,
    "graphflow.dtypes": """
        DType as_dtype bfloat16 float16 float32 float64 int8 int16 int32 int64 string uint8 uint16 uint32 uint64
    """,
    "graphflow.errors": "OpError",
    "graphflow.shapes": "Dimension TensorShape",
    "graphflow.config": "ConfigProto GPUOptions GraphOptions OptimizerOptions RunMetadata RunOptions",
    "graphflow.compat.behavior": """
        disable_control_flow_v2 disable_eager_execution disable_resource_variables disable_tensor_equality
        disable_v2_behavior disable_v2_tensorshape enable_eager_execution enable_v2_behavior executing_eagerly
    """,
    "graphflow.sparse_tensor": "SparseTensor SparseTensorValue sparse_placeholder",
    "graphflow.ops.source": "constant placeholder placeholder_with_default",
    "graphflow.ops.unary": """
        abs ceil digamma erf erfc exp expm1 floor is_finite is_inf is_nan lgamma log log1p negative reciprocal rint
        round rsqrt sign sqrt square
    """,
    "graphflow.ops.trigonometry": "acos acosh asin asinh atan atan2 atanh cos cosh sin sinh tan",
    "graphflow.ops.activation": "log_sigmoid sigmoid tanh",
    "graphflow.ops.binary": """
        add div div_no_nan divide floor_div floordiv floormod maximum minimum mod multiply pow realdiv scalar_mul
        squared_difference subtract truediv truncatediv truncatemod
    """,
    "graphflow.ops.compare": """
        equal greater greater_equal less less_equal logical_and logical_not logical_or logical_xor not_equal where
        where_v2
    """,
    "graphflow.ops.cast": "bitcast cast saturate_cast to_bfloat16 to_double to_float to_int32 to_int64",
    "graphflow.ops.combine": "accumulate_n add_n clip_by_value",
    "graphflow.ops.clip": "clip_by_average_norm clip_by_global_norm clip_by_norm global_norm",
    "graphflow.ops.matmul": "matmul",
    "graphflow.ops.einsum": "einsum tensordot",
    "graphflow.ops.reduce": "reduce_all reduce_any reduce_max reduce_mean reduce_min reduce_prod reduce_sum",
    "graphflow.ops.statistics": "count_nonzero norm reduce_logsumexp",
    "graphflow.ops.order": "arg_max arg_min argmax argmin cumprod cumsum",
    "graphflow.ops.array": "expand_dims identity identity_n reshape squeeze stop_gradient",
    "graphflow.ops.diagonal": "diag diag_part matrix_band_part matrix_diag matrix_diag_part matrix_set_diag trace",
    "graphflow.ops.rearrange": "broadcast_to matrix_transpose reverse roll tile transpose",
    "graphflow.ops.shape_ops": "rank shape shape_n size",
    "graphflow.ops.fill": "eye fill lin_space linspace ones ones_like range zeros zeros_like",
    "graphflow.ops.joining": "concat meshgrid pad parallel_stack stack",
    "graphflow.ops.splitting": "split unstack",
    "graphflow.ops.slicing": "strided_slice",
    "graphflow.ops.gather": "batch_gather boolean_mask gather gather_nd",
    "graphflow.ops.positions": "one_hot sequence_mask unique unique_with_counts",
    "graphflow.ops.scatter": """
        invert_permutation scatter_nd segment_sum tensor_scatter_add tensor_scatter_sub tensor_scatter_update
        unsorted_segment_sum
    """,
    "graphflow.ops.random": """
        get_seed multinomial random_normal random_shuffle random_uniform set_random_seed truncated_normal
    """,
    "graphflow.ops.control": """
        Assert Print check_numerics group no_op numpy_function py_func tuple verify_tensor_all_finite
    """,
    "graphflow.ops.assertions": """
        assert_equal assert_greater assert_greater_equal assert_integer assert_less assert_less_equal assert_near
        assert_negative assert_non_negative assert_non_positive assert_none_equal assert_positive
        assert_proper_iterable assert_rank assert_rank_at_least assert_scalar assert_type is_non_decreasing
        is_numeric_tensor is_strictly_increasing
    """,
    "graphflow.gradients": """
        AggregationMethod NoGradient NotDifferentiable RegisterGradient UnconnectedGradients custom_gradient gradients
        hessians
    """,
    "graphflow.graph_keys": "GraphKeys",
    "graphflow.variables": """
        Variable VariableAggregation VariableSynchronization all_variables global_variables
        global_variables_initializer init_scope initialize_all_variables initialize_local_variables
        initialize_variables is_variable_initialized local_variables local_variables_initializer model_variables
        moving_average_variables report_uninitialized_variables trainable_variables variables_initializer
    """,
    "graphflow.variable_scope": """
        AUTO_REUSE VariableScope get_local_variable get_variable get_variable_scope no_regularizer variable_op_scope
        variable_scope
    """,
    "graphflow.template": "make_template",
    "graphflow.ops.state": "assign assign_add assign_sub count_up_to",
    "graphflow.ops.state_rows": """
        scatter_add scatter_div scatter_max scatter_min scatter_mul scatter_nd_add scatter_nd_sub scatter_nd_update
        scatter_sub scatter_update
    """,
    "graphflow.initializers": """
        constant_initializer glorot_normal_initializer glorot_uniform_initializer ones_initializer
        orthogonal_initializer random_normal_initializer random_uniform_initializer truncated_normal_initializer
        uniform_unit_scaling_initializer variance_scaling_initializer zeros_initializer
    """,
    "graphflow_runtime.session": "InteractiveSession Session",
    "graphflow_runtime.profiling": "Profile ProfileRow",
    "graphflow.explaining": "explain plan_to_dot",
    "graphflow.io": "load save",
}

#: Names that differ from the attribute they stand for: TensorFlow's, and those it had before 1.0.
_ALIASES: dict[str, tuple[str, str]] = {
    "bool": ("graphflow.dtypes", "bool_"),
    "half": ("graphflow.dtypes", "float16"),
    "double": ("graphflow.dtypes", "float64"),
    "mul": ("graphflow.ops.binary", "multiply"),
    "sub": ("graphflow.ops.binary", "subtract"),
    "neg": ("graphflow.ops.unary", "negative"),
    "batch_matmul": ("graphflow.ops.matmul", "matmul"),
    "slice": ("graphflow.ops.slicing", "slice_"),
    "newaxis": ("graphflow.ops.slicing", "newaxis"),
    "reverse_v2": ("graphflow.ops.rearrange", "reverse"),
    "concat_v2": ("graphflow.ops.joining", "concat"),
    "pack": ("graphflow.ops.joining", "stack"),
    "unpack": ("graphflow.ops.splitting", "unstack"),
    "select": ("graphflow.ops.compare", "where"),
    "VERSION": ("graphflow", "__version__"),
}

_NAMESPACES = """
    app bitwise compat compiler config dtypes errors flags gfile initializers io layers linalg losses math metrics nn ops
    random regularizers runtime shapes timeline train viz
"""

#: Namespaces: attribute of the package -> module.
SUBMODULES: dict[str, str] = {name: f"graphflow.{name}" for name in _NAMESPACES.split()} | {"logging": "graphflow.tf_logging"}

HOME: dict[str, tuple[str, str]] = {
    name: (module, name) for module, names in _MODULES.items() for name in names.split()
} | _ALIASES
