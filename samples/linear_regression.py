"""A line through noisy points: placeholders, variables, a loss, an optimizer, a session."""

import numpy as np

import graphflow as tf


def main() -> tuple[float, float]:
    # The data: y = 3x + 2 with some noise.
    rng = np.random.default_rng(0)
    xs = rng.uniform(-1, 1, size=(200, 1)).astype(np.float32)
    ys = 3 * xs + 2 + rng.normal(0, 0.1, size=xs.shape).astype(np.float32)

    # The model. Nothing is computed yet: these lines only build a graph.
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 1], name="x")
        y = tf.placeholder(tf.float32, [None, 1], name="y")
        slope = tf.Variable(tf.zeros([1, 1]), name="slope")
        intercept = tf.Variable(tf.zeros([1]), name="intercept")
        prediction = tf.matmul(x, slope) + intercept
        loss = tf.reduce_mean(tf.square(prediction - y))
        train = tf.train.GradientDescentOptimizer(learning_rate=0.5).minimize(loss)
        init = tf.global_variables_initializer()

    # Each run computes the fetches: forward, backward and update are one native call.
    with tf.Session(graph=graph) as session:
        session.run(init)
        for step in range(101):
            value, _ = session.run([loss, train], {x: xs, y: ys})
            if step % 20 == 0:
                print(f"step {step:3d}  loss {value:.5f}")
        a, b = session.run([slope, intercept])
    print(f"y = {a[0, 0]:.3f} x + {b[0]:.3f}")
    return float(a[0, 0]), float(b[0])


if __name__ == "__main__":
    main()
