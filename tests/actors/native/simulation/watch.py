"""What must never happen, looked at while it could: an object freed under a holder, a task run too often."""

from collections import Counter


class Watch:
    """Sees what all processes of a world do at once, as nobody in a cluster can."""

    def __init__(self, world):
        self.world = world
        self.freed = 0
        self.runs = Counter()
        self.under_way = set()

    def put_on(self, process):
        """Look at what a process frees."""

        forget = process.hub.table._release_lineage

        def freed(entry):
            self.freed += 1
            self._check_free(process, entry)
            forget(entry)

        process.hub.table._release_lineage = freed

    def _check_free(self, owner, entry):
        """Nobody who is counted, or could rely on somebody who is, holds it.

        Where a process has died or a call was given up, what hung on that may be lost: only what its owner is known
        to have counted counts then.
        """
        if owner.dead:
            return
        world = self.world
        for process in world.alive:
            found = process.hub.table.find(entry.object_id)
            if process is owner or found is None or found.count == 0:
                continue
            known = found.registered and not process.hub.links.registering[entry.object_id]
            excused = process.id in world.gave_up or (world.deaths and not known)
            if not excused:
                self.world.problem(f"{entry.object_id.hex()} of {owner.id} was freed although {process.id} holds it")

    def started(self, job):
        task_id = job.invocation.task_id
        if job.template.kind == "task" and not self.world.deaths:
            if task_id in self.under_way:
                self.world.problem("two run the same task")
            self.under_way.add(task_id)
            self.runs[task_id] += 1
            if self.runs[task_id] > 1 + self.world.retries:
                self.world.problem("a task ran more often than it may")

    def ended(self, job):
        self.under_way.discard(job.invocation.task_id)
