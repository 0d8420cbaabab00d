"""Where each public name of the package lives. `graphflow.__getattr__` loads a module when one of its names is first used."""

from __future__ import annotations

_MODULES: dict[str, str] = {
    "graphflow.core.graph": "Graph Operation Tensor",
    "graphflow.core.indexed_slices": "IndexedSlices IndexedSlicesValue",
    "graphflow.core.build": "convert_to_tensor name_scope",
    "graphflow.core.context": "get_default_graph get_default_session reset_default_graph",
    "graphflow.default_graph": (
        "add_to_collection add_to_collections colocate_with control_dependencies device get_collection get_collection_ref "
        "op_scope"
    ),
    "graphflow.dtypes": "DType as_dtype bfloat16 float16 float32 float64 int8 int16 int32 int64 string uint8 uint16 uint32 uint64",
    "graphflow.shapes": "Dimension TensorShape",
    "graphflow.config": "ConfigProto GPUOptions GraphOptions OptimizerOptions RunMetadata RunOptions",
    "graphflow.ops.source": "constant placeholder placeholder_with_default",
    "graphflow.ops.unary": (
        "abs ceil digamma erf erfc exp expm1 floor is_finite is_inf is_nan lgamma log log1p negative reciprocal rint round rsqrt "
        "sign sqrt square"
    ),
    "graphflow.ops.trigonometry": "acos acosh asin asinh atan atan2 atanh cos cosh sin sinh tan",
    "graphflow.ops.activation": "log_sigmoid sigmoid tanh",
    "graphflow.ops.binary": (
        "add div div_no_nan divide floor_div floordiv floormod maximum minimum mod multiply pow realdiv scalar_mul "
        "squared_difference subtract truediv truncatediv truncatemod"
    ),
    "graphflow.ops.compare": (
        "equal greater greater_equal less less_equal logical_and logical_not logical_or logical_xor not_equal where where_v2"
    ),
    "graphflow.ops.cast": "bitcast cast saturate_cast to_bfloat16 to_double to_float to_int32 to_int64",
    "graphflow.ops.combine": "accumulate_n add_n clip_by_value",
    "graphflow.ops.matmul": "matmul",
    "graphflow.gradients": (
        "AggregationMethod NoGradient NotDifferentiable RegisterGradient UnconnectedGradients custom_gradient gradients hessians"
    ),
    "graphflow.graph_keys": "GraphKeys",
    "graphflow.variables": (
        "Variable VariableAggregation VariableSynchronization all_variables global_variables global_variables_initializer "
        "initialize_all_variables initialize_local_variables initialize_variables is_variable_initialized local_variables "
        "local_variables_initializer model_variables moving_average_variables report_uninitialized_variables "
        "trainable_variables variables_initializer"
    ),
    "graphflow.variable_scope": (
        "AUTO_REUSE VariableScope get_local_variable get_variable get_variable_scope no_regularizer variable_op_scope "
        "variable_scope"
    ),
    "graphflow.template": "make_template",
    "graphflow.ops.state": "assign assign_add assign_sub count_up_to",
    "graphflow.ops.state_rows": (
        "scatter_add scatter_div scatter_max scatter_min scatter_mul scatter_nd_add scatter_nd_sub scatter_nd_update scatter_sub "
        "scatter_update"
    ),
    "graphflow.initializers": (
        "constant_initializer glorot_normal_initializer glorot_uniform_initializer ones_initializer orthogonal_initializer "
        "random_normal_initializer random_uniform_initializer truncated_normal_initializer uniform_unit_scaling_initializer "
        "variance_scaling_initializer zeros_initializer"
    ),
    "graphflow.regularizers": "",
    "graphflow_runtime.session": "InteractiveSession Session",
    "graphflow.explaining": "explain",
    "graphflow.io": "load save",
    "graphflow.sparse_tensor": "SparseTensor SparseTensorValue",
}

#: Names that differ from the attribute they stand for.
_ALIASES: dict[str, tuple[str, str]] = {
    "bool": ("graphflow.dtypes", "bool_"),
    "half": ("graphflow.dtypes", "float16"),
    "double": ("graphflow.dtypes", "float64"),
    "mul": ("graphflow.ops.binary", "multiply"),
    "sub": ("graphflow.ops.binary", "subtract"),
    "neg": ("graphflow.ops.unary", "negative"),
    "batch_matmul": ("graphflow.ops.matmul", "matmul"),
    "OpError": ("graphflow.errors", "OpError"),
}

#: Namespaces: attribute of the package -> module.
SUBMODULES: dict[str, str] = {
    name: f"graphflow.{name}"
    for name in (
        "app", "bitwise", "compat", "compiler", "config", "dtypes", "errors", "flags", "gfile", "initializers", "io", "layers",
        "linalg", "logging", "losses", "math", "metrics", "nn", "ops", "random", "runtime", "shapes", "train", "viz",
    )
}  # fmt: skip

HOME: dict[str, tuple[str, str]] = {
    name: (module, name) for module, names in _MODULES.items() for name in names.split()
} | _ALIASES
