# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow_runtime.session.session import (
    BaseSession as BaseSession, InteractiveSession as InteractiveSession, Session as Session,
)
from graphflow_runtime.executor.native import NativeExecutable as NativeExecutable
from graphflow_runtime.executor.executable import Statistics as Statistics
from graphflow_runtime.profiling.profile import Profile as Profile, ProfileRow as ProfileRow
from graphflow_runtime.executor.reference import ReferenceExecutable as ReferenceExecutable
from graphflow_runtime.store import VariableStore as VariableStore
