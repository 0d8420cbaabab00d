"""The gradients of the library's ops, in rooms and files of the same names as in `graphflow/ops`.

`autodiff.rule_loader` loads the file of an op's family when the first gradient of one of its ops is asked for.
"""
