"""Stage one on several GPUs of one machine: a process for each, over its own share of what is left."""
