"""What users write: `public` lists every public name; the other modules are the namespaces, ``tf.nn`` and so on."""
