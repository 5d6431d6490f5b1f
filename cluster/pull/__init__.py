"""Copies of other nodes' objects: what to bring to a node, in which order, from where, and what to do when that fails.

One `PullMachine` a node decides; `cluster/node/puller.py` carries out. Free of I/O and of clocks.

    wanted ──admitted──► reserving ──memory──► finding ──a source──► preparing ──it has it──► moving ──all──► a copy
       ▲                                         ▲  │ none: absent                              │
       └── another size, or another content      │  ▼                                           │ range by range,
                                                 └──────── the source fails ◄────────────────────┘ what is there stays

**Who wants it.** A reader that is blocked, before an argument of a queued task, before what may be read some day. A
want can rise; when the last one is withdrawn the pull ends, unless its reader may come back: what was begun for one
with a time limit goes on with what time others leave. All who want an object share one pull.

**What is admitted.** In order of need, and only so much at a time that the first ones are there soon (`budget`); one
pull is always admitted, however large. Only for a blocked reader is anything taken out of memory that somebody may
need: other pulls wait until there is room. A pull has all of its memory or none, so no two can wait for each other's
halves; one that waits long for memory does not keep others waiting, whose reader may be the one who has it.

**From where.** The owner says (`actors/native/directory.py`), who knows all copies and all pulls: of many who want the
same object at the same time, most are sent to one that is a little ahead of them, and pass on what they have, range by
range. So a broadcast takes little longer than one copy. Small objects come straight from where they were made.

**What fails.** A broken stream is tried again for a grace period, at the range that failed, and elsewhere as soon as
the owner knows of another source. A source that does not have the object, or is gone, or has sent wrong bytes twice, is
reported to the owner and not asked again. One that is slow, while it is not this node that is, is left for another.
Ranges are joined only if they are of copies with the same tag (transport/bulk.py); otherwise the pull begins anew.
"""
