"""What did the compiler do to my model? `explain` in words, every level as text, and the kernels as a picture."""

import os
import tempfile
from pathlib import Path

import numpy as np

import graphflow as tf


def main() -> str:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 20], name="x")
        w = tf.get_variable("w", [20, 5])
        b = tf.get_variable("b", [5], initializer=tf.zeros_initializer())
        hidden = tf.nn.relu(tf.matmul(x, w) + b, name="hidden")
        share = tf.nn.softmax(hidden, name="share")
        loss = tf.reduce_mean(tf.square(share), name="loss")
        train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)

        with tempfile.TemporaryDirectory() as folder:
            os.environ["GRAPHFLOW_DUMP"] = folder  # every level of every compilation goes there, as text
            try:
                with tf.Session() as session:
                    session.run(tf.global_variables_initializer())
                    session.run([loss, train], {x: np.ones((4, 20), np.float32)})
                    session.run([loss, train], {x: np.ones((9, 20), np.float32)})  # another size: nothing is compiled
                    explanation = tf.explain([loss, train], session=session, feed_shapes={x: [4, 20]})
                    print(explanation)
                    print(session.stats)
            finally:
                del os.environ["GRAPHFLOW_DUMP"]
            for path in sorted(Path(folder).rglob("*program.txt"))[-1:]:
                print(f"--- {path.name}: the program before any pass")
                print(path.read_text())
    return explanation


if __name__ == "__main__":
    main()
