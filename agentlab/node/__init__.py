"""A node: an operating-system process in which agents run, beside the kernel that supervises them."""
