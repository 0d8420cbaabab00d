# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.io.native import Loaded as Loaded, Signature as Signature, load as load, save as save
