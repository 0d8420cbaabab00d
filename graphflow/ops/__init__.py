"""The op library: one module a family, one `OpDef` an op. Importing this registers every op."""

from graphflow.ops import source
from graphflow.ops import reduce
from graphflow.ops import matmul
