"""Finding a cluster and asking it something from outside: for commands, and for programs that submit jobs."""
