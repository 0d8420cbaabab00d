"""Symbolic differentiation: `tf.gradients`, and the gradients of the library's ops."""
