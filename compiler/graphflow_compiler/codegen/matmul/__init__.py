"""Matrix products as LLVM IR text."""
