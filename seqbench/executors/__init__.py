"""Where runs happen: on this machine, a process a run."""
