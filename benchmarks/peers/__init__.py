"""One file per side of the comparison: the same workloads, each written the way that library is fast.

Such a file runs in the interpreter that has the library, and imports it, numpy and `workloads`, nothing else. It holds

    version() -> str                 of the library
    BUILD[kind](*sizes) -> Variants  how a workload of that kind is run; kinds that the library cannot do are missing
    classifier(start) -> (step, predict), where it trains: what the digits program needs
"""
