"""Loop kernels as LLVM IR text for processors."""
