"""LLVM IR text to machine code: in this process, by helper processes, kept on disk."""
