"""Handwritten digits: a 64-128-64-10 network trained with Adam on scikit-learn's bundled images.

Writes the graph's picture as `digits.dot`, and as `digits.svg` where the `viz` extra is installed.
"""

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np

import graphflow as tf

BATCH, EPOCHS = 32, 30


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """1,797 images of 8x8 grey values and their labels, four fifths to train and one fifth to test.

    The file is read straight from scikit-learn's folder, as `sklearn.datasets.load_digits` reads it: importing that
    function would take longer than all the training below.
    """
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        sys.exit("the images come with scikit-learn: pip install scikit-learn")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    images, labels = table[:, :-1] / 16, table[:, -1].astype(np.int32)
    order = np.random.default_rng(14).permutation(len(images))
    cut = len(images) * 4 // 5
    train, test = order[:cut], order[cut:]
    return images[train], labels[train], images[test], labels[test]


def build() -> tuple[tf.Graph, dict[str, tf.Tensor | tf.Operation]]:
    """The network, its loss, the training step and the prediction."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        x = tf.placeholder(tf.float32, [None, 64], name="images")
        y = tf.placeholder(tf.int32, [None], name="labels")
        layer = x
        for i, units in enumerate([128, 64, 10]):
            with tf.variable_scope(f"layer{i + 1}"):
                w = tf.get_variable("w", [layer.shape[1], units])
                b = tf.get_variable("b", [units], initializer=tf.zeros_initializer())
                layer = tf.matmul(layer, w) + b
                if units != 10:
                    layer = tf.nn.relu(layer)
        logits = tf.identity(layer, name="logits")
        with tf.name_scope("loss"):
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits)
            loss = tf.reduce_mean(losses)
        train = tf.train.AdamOptimizer(learning_rate=1e-3).minimize(loss)
        predicted = tf.argmax(logits, 1, name="predicted")
        init = tf.global_variables_initializer()
    return graph, {"x": x, "y": y, "loss": loss, "train": train, "predicted": predicted, "init": init}


def main(epochs: int = EPOCHS, folder: str | None = ".") -> float:
    start = time.perf_counter()
    train_x, train_y, test_x, test_y = load()
    graph, g = build()
    rng = np.random.default_rng(15)
    with tf.Session(graph=graph) as session:
        session.run(g["init"])
        step = session.make_callable([g["loss"], g["train"]], feed_list=[g["x"], g["y"]])
        for epoch in range(1, epochs + 1):
            order = rng.permutation(len(train_x))
            for i in range(0, len(order) - BATCH + 1, BATCH):
                batch = order[i : i + BATCH]
                loss, _ = step(train_x[batch], train_y[batch])
            if epoch % 5 == 0 or epoch == epochs:
                print(f"epoch {epoch:2} of {epochs}: loss {loss:.4f}", flush=True)
        accuracy = float(np.mean(session.run(g["predicted"], {g["x"]: test_x}) == test_y))
    print(f"test accuracy {accuracy:.2%} on {len(test_x)} images, {time.perf_counter() - start:.2f} s in all")
    if folder is not None:
        for path in _pictures(graph, Path(folder)):
            print(f"wrote {path}")
    return accuracy


def _pictures(graph: tf.Graph, folder: Path) -> list[Path]:
    """The DOT text always; an SVG if Graphviz (the `viz` extra) is there."""
    dot = folder / "digits.dot"
    dot.write_text(tf.viz.to_dot(graph))
    written = [dot]
    try:
        import pygraphviz  # noqa: F401
    except ImportError:
        return written
    svg = folder / "digits.svg"
    tf.viz.save_svg(graph, svg)
    return [*written, svg]


if __name__ == "__main__":
    main()
