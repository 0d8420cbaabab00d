# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.framework.config import (
    Settings as Settings, GPUOptions as GPUOptions, OptimizerOptions as OptimizerOptions, GraphOptions as GraphOptions,
    ConfigProto as ConfigProto, RunOptions as RunOptions, NodeStats as NodeStats, DeviceStats as DeviceStats,
    StepStats as StepStats, RunMetadata as RunMetadata,
)
