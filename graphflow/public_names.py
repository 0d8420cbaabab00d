"""The one list of public names: a new name for users goes here and nowhere else.

Namespace -> module -> names; the namespace "" is the package itself, ``tf.``. ``name=attribute`` gives an attribute of the
module another name. Nothing is imported until a name is first used. The stubs (`*.pyi`) that type checkers and editors read
are written from this list by ``pytest tests/test_public_names.py --update-golden``.
"""

from __future__ import annotations

PUBLIC: dict[str, dict[str, str]] = {
    "": {
        "graphflow.framework.graph": "Graph Operation Tensor",
        "graphflow.framework.indexed_slices": "IndexedSlices IndexedSlicesValue",
        "graphflow.framework.build": "convert_to_tensor name_scope",
        "graphflow.framework.context": "get_default_graph get_default_session reset_default_graph",
        "graphflow.framework.default_graph": """
            add_to_collection add_to_collections colocate_with control_dependencies device get_collection
            get_collection_ref op_scope
        """,
        "graphflow.framework.dtypes": """
            DType as_dtype bfloat16 float16 float32 float64 int8 int16 int32 int64 string uint8 uint16 uint32
            uint64 bool=bool_ half=float16 double=float64
        """,
        "graphflow.framework.errors": "OpError",
        "graphflow.framework.shapes": "Dimension TensorShape",
        "graphflow.framework.config": "ConfigProto GPUOptions GraphOptions OptimizerOptions RunMetadata RunOptions",
        "graphflow.compat.behavior": """
            disable_control_flow_v2 disable_eager_execution disable_resource_variables disable_tensor_equality
            disable_v2_behavior disable_v2_tensorshape enable_eager_execution enable_v2_behavior
            executing_eagerly
        """,
        "graphflow.framework.sparse_tensor": "SparseTensor SparseTensorValue",
        "graphflow.ops.sparse.sparse_placeholder": "sparse_placeholder",
        "graphflow.ops.array.source": "constant placeholder placeholder_with_default",
        "graphflow.ops.math.unary": """
            abs ceil digamma erf erfc exp expm1 floor is_finite is_inf is_nan lgamma log log1p negative
            reciprocal rint round rsqrt sign sqrt square neg=negative
        """,
        "graphflow.ops.math.zeta": "polygamma zeta",
        "graphflow.ops.math.trigonometry": "acos acosh asin asinh atan atan2 atanh cos cosh sin sinh tan",
        "graphflow.ops.nn.activation": "log_sigmoid sigmoid tanh",
        "graphflow.ops.math.binary": """
            add div div_no_nan divide floor_div floordiv floormod maximum minimum mod multiply pow realdiv
            scalar_mul squared_difference subtract truediv truncatediv truncatemod mul=multiply sub=subtract
        """,
        "graphflow.ops.math.compare": """
            equal greater greater_equal less less_equal logical_and logical_not logical_or logical_xor not_equal
        """,
        "graphflow.ops.math.select": "where where_v2 select=where",
        "graphflow.ops.math.cast": "bitcast cast to_bfloat16 to_double to_float to_int32 to_int64",
        "graphflow.ops.math.clip": """
            saturate_cast clip_by_value clip_by_average_norm clip_by_global_norm clip_by_norm global_norm
        """,
        "graphflow.ops.math.add_n": "accumulate_n add_n",
        "graphflow.ops.math.matmul": "matmul batch_matmul=matmul",
        "graphflow.ops.math.einsum": "einsum tensordot",
        "graphflow.ops.math.reduce": "reduce_all reduce_any reduce_max reduce_mean reduce_min reduce_prod reduce_sum",
        "graphflow.ops.math.statistics": "count_nonzero norm reduce_logsumexp",
        "graphflow.ops.math.argmax": "arg_max arg_min argmax argmin",
        "graphflow.ops.math.cumulative": "cumprod cumsum",
        "graphflow.ops.array.reshape": "expand_dims reshape squeeze",
        "graphflow.ops.array.identity": "identity identity_n stop_gradient",
        "graphflow.ops.array.diagonal": """
            diag diag_part matrix_band_part matrix_diag matrix_diag_part matrix_set_diag trace eye
        """,
        "graphflow.ops.array.movement": "broadcast_to matrix_transpose reverse roll tile transpose reverse_v2=reverse",
        "graphflow.ops.array.shape": "rank shape shape_n size",
        "graphflow.ops.array.fill": "fill ones ones_like zeros zeros_like",
        "graphflow.ops.array.range": "lin_space linspace range meshgrid",
        "graphflow.ops.array.concat": "concat parallel_stack stack concat_v2=concat pack=stack",
        "graphflow.ops.array.pad": "pad",
        "graphflow.ops.array.split": "split unstack unpack=unstack",
        "graphflow.ops.array.strided_slice": "strided_slice newaxis",
        "graphflow.ops.array.slicing": "slice=slice_",
        "graphflow.ops.array.gather": "batch_gather boolean_mask gather gather_nd",
        "graphflow.ops.array.one_hot_where_unique": "one_hot sequence_mask unique unique_with_counts",
        "graphflow.ops.array.ordered_ids": "invert_permutation segment_sum",
        "graphflow.ops.array.scatter": """
            scatter_nd tensor_scatter_add tensor_scatter_sub
            tensor_scatter_update unsorted_segment_sum
        """,
        "graphflow.ops.random.sampling": """
            get_seed random_normal random_uniform set_random_seed truncated_normal
        """,
        "graphflow.ops.random.choices": "multinomial random_shuffle",
        "graphflow.ops.control_flow.control": """
            Assert Print check_numerics group no_op numpy_function py_func tuple verify_tensor_all_finite
        """,
        "graphflow.ops.control_flow.assertions": """
            assert_equal assert_greater assert_greater_equal assert_integer assert_less assert_less_equal
            assert_near assert_negative assert_non_negative assert_non_positive assert_none_equal
            assert_positive assert_proper_iterable assert_rank assert_rank_at_least assert_scalar assert_type
            is_non_decreasing is_numeric_tensor is_strictly_increasing
        """,
        "graphflow.autodiff.gradients": """
            AggregationMethod NoGradient NotDifferentiable RegisterGradient UnconnectedGradients custom_gradient
            gradients hessians
        """,
        "graphflow.framework.graph_keys": "GraphKeys",
        "graphflow.variables.variable": """
            Variable VariableAggregation VariableSynchronization all_variables global_variables
            global_variables_initializer init_scope initialize_all_variables initialize_local_variables
            initialize_variables is_variable_initialized local_variables local_variables_initializer
            model_variables moving_average_variables report_uninitialized_variables trainable_variables
            variables_initializer
        """,
        "graphflow.variables.scope": """
            AUTO_REUSE VariableScope get_local_variable get_variable get_variable_scope no_regularizer
            variable_op_scope variable_scope
        """,
        "graphflow.variables.partitioned": """
            create_partitioned_variables fixed_size_partitioner min_max_variable_partitioner
            variable_axis_size_partitioner
        """,
        "graphflow.variables.template": "make_template",
        "graphflow.ops.state.variable": "assign assign_add assign_sub count_up_to",
        "graphflow.ops.state.rows": """
            scatter_add scatter_div scatter_max scatter_min scatter_mul scatter_nd_add scatter_nd_sub
            scatter_nd_update scatter_sub scatter_update
        """,
        "graphflow.variables.initializers": """
            constant_initializer glorot_normal_initializer glorot_uniform_initializer ones_initializer
            orthogonal_initializer random_normal_initializer random_uniform_initializer
            truncated_normal_initializer uniform_unit_scaling_initializer variance_scaling_initializer
            zeros_initializer
        """,
        "graphflow_runtime.session.session": "InteractiveSession Session",
        "graphflow_runtime.profiling.profile": "Profile ProfileRow",
        "graphflow.tools.explain": "explain plan_to_dot",
        "graphflow.io": "load save",
        "graphflow.version": "VERSION",
    },
    "app": {
        "graphflow.platform.app": "flags run",
    },
    "bitwise": {
        "graphflow.ops.math.bitwise": "bitwise_and bitwise_or bitwise_xor invert left_shift right_shift",
    },
    "compiler": {
        "graphflow_compiler.compilation": "CannotCompile Options compile",
        "graphflow_compiler.planning.plan": "Plan",
        "graphflow_compiler.frontend": "Signature build_program",
        "graphflow.tools.explain": "explain",
    },
    "config": {
        "graphflow.framework.config": """
            Settings GPUOptions OptimizerOptions GraphOptions ConfigProto RunOptions NodeStats DeviceStats
            StepStats RunMetadata
        """,
    },
    "dtypes": {
        "graphflow.framework.dtypes": """
            DType as_dtype bfloat16 bool_ float16 float32 float64 int8 int16 int32 int64 string uint8 uint16
            uint32 uint64
            ALL FLOATS HALVES INTEGERS NUMERIC SIGNED UNSIGNED
        """,
    },
    "errors": {
        "graphflow.framework.errors": """
            OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED
            RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE
            DATA_LOSS GraphFlowError BuildError ShapeError DTypeError ConversionError ArgumentError NameCollisionError
            WrongGraphError GraphFinalizedError GradientError CompileError FormatError VersionError
            UnknownOpError CorruptFileError OpError RunError CancelledError UnknownError InvalidArgumentError
            DeadlineExceededError NotFoundError AlreadyExistsError PermissionDeniedError ResourceExhaustedError
            FailedPreconditionError AbortedError OutOfRangeError UnimplementedError InternalError
            UnavailableError DataLossError UninitializedVariableError NumericError OutOfMemoryError
            DeviceUnavailable FeedError FeedTypeError FetchError FetchTypeError SessionClosedError
            exception_type_from_error_code error_code_from_exception_type
        """,
    },
    "flags": {
        "graphflow.platform.flags": """
            DEFINE_bool DEFINE_boolean DEFINE_enum DEFINE_float DEFINE_integer DEFINE_list DEFINE_multi_string
            DEFINE_string DuplicateFlagError Error FLAGS Flag FlagValues IllegalFlagValueError
            UnrecognizedFlagError mark_flag_as_required mark_flags_as_required
        """,
    },
    "gfile": {
        "graphflow.platform.gfile": """
            Copy DeleteRecursively Exists FastGFile GFile Glob IsDirectory ListDirectory MakeDirs MkDir Open
            Remove Rename Stat Walk copy exists glob isdir listdir makedirs mkdir remove rename rmtree stat walk
        """,
    },
    "initializers": {
        "graphflow.variables.initializers": """
            Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity Initializer LecunNormal LecunUniform
            Ones Orthogonal RandomNormal RandomUniform TruncatedNormal UniformUnitScaling VarianceScaling Zeros
            constant_initializer contrib_variance_scaling_initializer glorot_normal_initializer
            glorot_uniform_initializer he_normal he_uniform identity_initializer lecun_normal lecun_uniform
            ones_initializer orthogonal_initializer random_normal_initializer random_uniform_initializer
            truncated_normal_initializer uniform_unit_scaling_initializer variance_scaling_initializer
            xavier_initializer xavier_initializer_conv2d zeros_initializer
        """,
    },
    "io": {
        "graphflow.io.native": "Loaded Signature load save",
    },
    "layers": {
        "graphflow.layers.core": "BatchNormalization Dense Dropout Flatten Layer batch_normalization dense dropout flatten",
    },
    "linalg": {
        "graphflow.ops.math.einsum": "einsum tensordot",
        "graphflow.ops.array.diagonal": "eye",
        "graphflow.ops.nn.normalization": "l2_normalize",
        "graphflow.ops.math.matmul": "matmul matvec",
        "graphflow.ops.array.movement": "matrix_transpose transpose=matrix_transpose",
        "graphflow.ops.math.statistics": "norm normalize",
    },
    "losses": {
        "graphflow.losses.weighted": """
            Reduction absolute_difference add_loss compute_weighted_loss cosine_distance get_losses
            get_regularization_loss get_regularization_losses get_total_loss hinge_loss huber_loss log_loss
            mean_squared_error sigmoid_cross_entropy softmax_cross_entropy sparse_softmax_cross_entropy
        """,
    },
    "math": {
        "graphflow.ops.math.unary": """
            abs ceil digamma erf erfc exp expm1 floor is_finite is_inf is_nan lgamma log log1p negative
            reciprocal rint round rsqrt sign sqrt square
        """,
        "graphflow.ops.math.add_n": "accumulate_n add_n",
        "graphflow.ops.math.zeta": "polygamma zeta",
        "graphflow.ops.math.trigonometry": "acos acosh asin asinh atan atan2 atanh cos cosh sin sinh tan",
        "graphflow.ops.math.binary": """
            add divide divide_no_nan=div_no_nan floordiv floormod maximum minimum mod multiply pow scalar_mul
            squared_difference subtract truediv
            div_no_nan
        """,
        "graphflow.ops.math.compare": """
            approximate_equal equal greater greater_equal less less_equal logical_and logical_not logical_or
            logical_xor not_equal
        """,
        "graphflow.ops.math.argmax": "argmax argmin",
        "graphflow.ops.math.cumulative": "cumprod cumsum",
        "graphflow.ops.math.top_k": "in_top_k top_k",
        "graphflow.ops.math.statistics": """
            count_nonzero reduce_euclidean_norm reduce_logsumexp reduce_std reduce_variance zero_fraction
        """,
        "graphflow.ops.array.ordered_ids": "invert_permutation segment_sum",
        "graphflow.ops.array.scatter": "unsorted_segment_sum",
        "graphflow.ops.control_flow.assertions": "is_non_decreasing is_strictly_increasing",
        "graphflow.ops.nn.normalization": "l2_normalize",
        "graphflow.ops.nn.activation": "log_sigmoid sigmoid softplus softsign tanh",
        "graphflow.ops.nn.softmax": "log_softmax softmax",
        "graphflow.ops.math.reduce": "reduce_all reduce_any reduce_max reduce_mean reduce_min reduce_prod reduce_sum",
    },
    "metrics": {
        "graphflow.metrics.streaming": """
            accuracy mean mean_absolute_error mean_squared_error precision recall root_mean_squared_error
            Metric
        """,
    },
    "nn": {
        "graphflow.ops.nn.normalization": "batch_norm_with_global_normalization batch_normalization l2_normalize",
        "graphflow.ops.nn.dropout": "dropout",
        "graphflow.ops.nn.bias": "relu_layer xw_plus_b bias_add",
        "graphflow.ops.nn.activation": "elu gelu leaky_relu log_sigmoid relu relu6 selu sigmoid softplus softsign swish tanh",
        "graphflow.ops.nn.embedding": "embedding_lookup",
        "graphflow.ops.math.top_k": "in_top_k top_k",
        "graphflow.ops.math.statistics": "l2_loss moments zero_fraction",
        "graphflow.ops.nn.softmax": "log_softmax softmax",
        "graphflow.ops.nn.sigmoid_cross_entropy": "sigmoid_cross_entropy_with_logits weighted_cross_entropy_with_logits",
        "graphflow.ops.nn.cross_entropy": """
            softmax_cross_entropy_with_logits softmax_cross_entropy_with_logits_v2
            sparse_softmax_cross_entropy_with_logits
        """,
    },
    "random": {
        "graphflow.ops.random.sampling": """
            get_seed normal set_random_seed set_seed truncated_normal uniform
        """,
        "graphflow.ops.random.choices": "categorical multinomial shuffle",
    },
    "regularizers": {
        "graphflow.variables.regularizers": """
            apply_regularization l1_l2_regularizer l1_regularizer l2_regularizer sum_regularizer
            Regularizer
        """,
    },
    "runtime": {
        "graphflow_runtime.session.session": "BaseSession InteractiveSession Session",
        "graphflow_runtime.executor.native": "NativeExecutable",
        "graphflow_runtime.executor.executable": "Statistics",
        "graphflow_runtime.profiling.profile": "Profile ProfileRow",
        "graphflow_runtime.executor.reference": "ReferenceExecutable",
        "graphflow_runtime.store": "VariableStore",
    },
    "shapes": {
        "graphflow.framework.shapes": """
            format_shape DimPolicy GRAPH_POLICY Dimension as_dimension TensorShape as_internal to_public
            static_shape
        """,
        "graphflow.framework.dims": """
            Dim Shape SymDim evaluate floordiv fresh_dim maximum minimum mod never_negative product size substitute
        """,
    },
    "timeline": {
        "graphflow.tools.timeline": "Timeline",
    },
    "train": {
        "graphflow.train.optimizers": """
            AdadeltaOptimizer AdagradOptimizer AdamOptimizer FtrlOptimizer GradientDescentOptimizer
            MomentumOptimizer RMSPropOptimizer
        """,
        "graphflow.train.moving_averages": "ExponentialMovingAverage",
        "graphflow.train.optimizer": "Optimizer",
        "graphflow.train.training_util": """
            assert_global_step create_global_step get_global_step get_or_create_global_step global_step
        """,
        "graphflow.train.learning_rate_decay": """
            cosine_decay cosine_decay_restarts exponential_decay inverse_time_decay linear_cosine_decay
            natural_exp_decay piecewise_constant polynomial_decay
        """,
        "graphflow.io.saver": "Saver",
        "graphflow.io.reader": "NewCheckpointReader list_variables load_checkpoint load_variable",
        "graphflow.io.checkpoint_state": """
            checkpoint_exists generate_checkpoint_state_proto get_checkpoint_mtimes get_checkpoint_state
            latest_checkpoint remove_checkpoint update_checkpoint_state
        """,
    },
    "viz": {
        "graphflow.viz.kernels_view": "KernelBox kernels_to_dot",
        "graphflow.viz.render": "render save_picture save_svg",
        "graphflow.viz.dot": "to_dot",
    },
    "logging": {
        "graphflow.platform.logging": """
            DEBUG ERROR FATAL INFO WARN WARNING TaskLevelStatusMessage debug error fatal flush get_logger
            get_verbosity info log log_every_n log_first_n log_if set_verbosity vlog warn warning
        """,
    },
    "custom_ops": {
        "graphflow.framework.build": "build build_op convert_to_tensor",
        "graphflow.framework.kinds": """
            Algebra ArgReduction Assertion Composite Contraction Elementwise ExpandContext Gather Generate Host
            IndexBuilder IndexMap LowerContext NoOp Piece Random Reduction Scatter ShapeOf Source StateUpdate
            TensorType View
        """,
        "graphflow.framework.registry": """
            InferContext NO_ATTRS NotDifferentiable OpDef Sample UndefinedGradient not_differentiable register
            same_shape_infer undefined_gradient
        """,
        "graphflow.framework.scalar_builder": "ScalarBuilder",
        "graphflow.framework.dtypes": "ALL FLOATS HALVES INTEGERS NUMERIC SIGNED UNSIGNED",
        "graphflow.framework.dims": "SymDim product",
    },
}

#: Name of a namespace, an attribute of the package -> the module behind it.
NAMESPACES: dict[str, str] = {
    **{
        name: f"graphflow.api.{name}"
        for name in (
            "app", "bitwise", "config", "custom_ops", "dtypes", "errors", "flags", "gfile", "initializers", "linalg", "logging",
            "math", "nn", "random", "regularizers", "shapes", "timeline",
        )
    },
    # Subpackages and modules that are namespaces themselves.
    **{
        name: f"graphflow.{name}"
        for name in ("compat", "compiler", "io", "layers", "losses", "metrics", "ops", "runtime", "train", "viz")
    },
}  # fmt: skip


def homes(namespace: str) -> dict[str, tuple[str, str]]:
    """Public name -> (module, attribute) of a namespace."""
    found = {}
    for module, names in PUBLIC[namespace].items():
        for entry in names.split():
            name, _, attribute = entry.partition("=")
            found[name] = (module, attribute or name)
    return found
