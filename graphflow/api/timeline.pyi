# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.tools.timeline import Timeline as Timeline
