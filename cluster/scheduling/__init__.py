"""Who runs what, where: the scheduler as state machines that do no I/O.

Each machine has `handle(event, now) -> list[Command]`; whoever owns it delivers the commands and calls it again with
what happens. Nothing here reads a clock, opens a socket or draws an unseeded random number, so tests/sim runs the same
code with a thousand nodes and a simulated clock.

    amounts and rules    resources, ledger, labels, strategy
    a node manager       lease (the machine) over lease_queue, lease_book, turn, worker_pool, bundle, reservation;
                         lease_message is what it hears and says
    the head             scheduler (demand that a node cannot meet), actor_directory, placement_group over
                         cluster_view, shape_index and policy

Demand flows by absolute numbers: a caller tells its node "I could use 7 workers of this class"; the node grants what
it can and reports the rest to the head with its next report; the head names better nodes; the node redirects the caller
there. Every message may be lost, late or doubled and the next one heals it.
"""
