"""The namespaces that users write, ``tf.nn`` and so on; what is in them is listed in graphflow/public_names.py."""
