"""XOR without an optimizer: `tf.gradients` gives the derivatives, plain assignments take the step."""

import numpy as np

import graphflow as tf


def main() -> np.ndarray:
    inputs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    targets = np.array([[0], [1], [1], [0]], np.float32)

    with tf.Graph().as_default():
        tf.set_random_seed(4)
        x = tf.constant(inputs, name="x")
        y = tf.constant(targets, name="y")
        w1 = tf.get_variable("w1", [2, 8])
        b1 = tf.get_variable("b1", [8], initializer=tf.zeros_initializer())
        w2 = tf.get_variable("w2", [8, 1])
        b2 = tf.get_variable("b2", [1], initializer=tf.zeros_initializer())
        hidden = tf.tanh(tf.matmul(x, w1) + b1)
        logits = tf.matmul(hidden, w2) + b2
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits))

        # One gradient tensor per variable, made of ordinary ops: print them, fetch them, differentiate them again.
        variables = [w1, b1, w2, b2]
        gradients = tf.gradients(loss, variables)
        step = tf.group(*[v.assign_sub(0.5 * g) for v, g in zip(variables, gradients, strict=True)])

        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for i in range(1001):
                value, _ = session.run([loss, step])
                if i % 200 == 0:
                    print(f"step {i:4d}  loss {value:.4f}")
            answers = session.run(tf.sigmoid(logits))
    for row, answer in zip(inputs, answers, strict=True):
        print(f"{int(row[0])} xor {int(row[1])} = {answer[0]:.3f}")
    return answers


if __name__ == "__main__":
    main()
