"""LLVM IR text to machine code: in this process and in helper processes, kept on disk."""
