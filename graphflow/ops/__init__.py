"""The op library: one module a family, one `OpDef` an op. Importing this registers every op."""

from graphflow.ops import source
from graphflow.ops import reduce
from graphflow.ops import matmul
from graphflow.ops import unary
from graphflow.ops import trigonometry
from graphflow.ops import binary
from graphflow.ops import compare
from graphflow.ops import bitwise
from graphflow.ops import cast
from graphflow.ops import combine
from graphflow.ops import activation
from graphflow.ops import operators
