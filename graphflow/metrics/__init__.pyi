# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.metrics.streaming import (
    accuracy as accuracy, mean as mean, mean_absolute_error as mean_absolute_error,
    mean_squared_error as mean_squared_error, precision as precision, recall as recall,
    root_mean_squared_error as root_mean_squared_error, Metric as Metric,
)
