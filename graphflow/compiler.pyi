# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow_compiler.compilation import CannotCompile as CannotCompile, Options as Options, compile as compile
from graphflow_compiler.planning.plan import Plan as Plan
from graphflow_compiler.frontend import Signature as Signature, build_program as build_program
from graphflow.tools.explain import explain as explain
