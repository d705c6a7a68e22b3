"""The endpoints, in one module for each kind of resource."""
