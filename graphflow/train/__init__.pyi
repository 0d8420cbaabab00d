# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.train.optimizers import (
    AdadeltaOptimizer as AdadeltaOptimizer, AdagradOptimizer as AdagradOptimizer, AdamOptimizer as AdamOptimizer,
    FtrlOptimizer as FtrlOptimizer, GradientDescentOptimizer as GradientDescentOptimizer,
    MomentumOptimizer as MomentumOptimizer, RMSPropOptimizer as RMSPropOptimizer,
)
from graphflow.train.moving_averages import ExponentialMovingAverage as ExponentialMovingAverage
from graphflow.train.optimizer import Optimizer as Optimizer
from graphflow.train.training_util import (
    assert_global_step as assert_global_step, create_global_step as create_global_step,
    get_global_step as get_global_step, get_or_create_global_step as get_or_create_global_step,
    global_step as global_step,
)
from graphflow.train.learning_rate_decay import (
    cosine_decay as cosine_decay, cosine_decay_restarts as cosine_decay_restarts,
    exponential_decay as exponential_decay, inverse_time_decay as inverse_time_decay,
    linear_cosine_decay as linear_cosine_decay, natural_exp_decay as natural_exp_decay,
    piecewise_constant as piecewise_constant, polynomial_decay as polynomial_decay,
)
from graphflow.io.saver import Saver as Saver
from graphflow.io.reader import (
    NewCheckpointReader as NewCheckpointReader, list_variables as list_variables, load_checkpoint as load_checkpoint,
    load_variable as load_variable,
)
from graphflow.io.checkpoint_state import (
    checkpoint_exists as checkpoint_exists, generate_checkpoint_state_proto as generate_checkpoint_state_proto,
    get_checkpoint_mtimes as get_checkpoint_mtimes, get_checkpoint_state as get_checkpoint_state,
    latest_checkpoint as latest_checkpoint, remove_checkpoint as remove_checkpoint,
    update_checkpoint_state as update_checkpoint_state,
)
