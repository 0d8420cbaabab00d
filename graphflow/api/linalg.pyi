# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.math.einsum import einsum as einsum, tensordot as tensordot
from graphflow.ops.array.diagonal import eye as eye
from graphflow.ops.nn.normalization import l2_normalize as l2_normalize
from graphflow.ops.math.matmul import matmul as matmul, matvec as matvec
from graphflow.ops.array.movement import matrix_transpose as matrix_transpose, matrix_transpose as transpose
from graphflow.ops.math.statistics import norm as norm, normalize as normalize
