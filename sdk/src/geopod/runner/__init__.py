"""A node, the user's side: a zipapp of standard library and cloudpickle; holds no credential."""
