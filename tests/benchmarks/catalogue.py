"""All cases of the core, in the table's order."""

from . import actor_case, object_case, session_case, task_case
from .case import cases_of

CASES = cases_of(task_case, actor_case, object_case, session_case)
