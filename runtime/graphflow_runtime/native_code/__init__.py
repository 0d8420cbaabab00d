"""Native code beside the kernels, as LLVM IR text: the builtin behind a run, the thread pool."""
