"""Request bodies and answers, in one module for each kind of resource."""
