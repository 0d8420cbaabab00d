"""Level 3 to level 4: loop kernels as LLVM IR text, and from there to machine code. Only here is llvmlite imported."""
