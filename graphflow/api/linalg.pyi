# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.einsum import einsum as einsum, tensordot as tensordot
from graphflow.ops.fill import eye as eye
from graphflow.ops.nn_ops import l2_normalize as l2_normalize
from graphflow.ops.matmul import matmul as matmul, matvec as matvec
from graphflow.ops.rearrange import matrix_transpose as matrix_transpose, matrix_transpose as transpose
from graphflow.ops.statistics import norm as norm, normalize as normalize
