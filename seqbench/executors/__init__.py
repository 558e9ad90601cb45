"""Where runs happen: executors start, watch and stop processes, as `seqbench.dispatch` says."""
