"""Instances on a host that is there already: shell scripts that start, list and end them, run by `sh` on that host.

Each instance is a folder, which comes into being in one step and with all that is in it:

    <base>/<cluster>/<name>/about    what it is, as JSON
                            token    the cluster's secret, mode 0600
                            start    the script that becomes the node
                            pid      of its process, and when that was born, so that no stranger is taken for it
                            ready    there once the set-up is done
                            log      what it has written

The scripts go to `sh` by standard input, so that nothing of them stands in a process list. They need what POSIX asks of
a system, `setsid` and `flock` (both util-linux), and on systems without /proc `ps`: small containers have none.
"""

import shlex
from typing import cast

import msgspec

from .instance import Instance, InstanceState, NodeType, Role
from .node_start import NodeStart, node_script

BASE = "$HOME/.limelight/instances"
"""Where the folders lie, as the shell writes it."""

BUSY = "busy"
"""What `start_script(alone=True)` prints, with the name, where the host has another instance."""

_END_S = 10
_PREPARE_MINUTES = 1

# proc(5), /proc/pid/stat: the state is the third field and the start, in ticks since the boot, the 22nd; the second is
# the program's name in parentheses, and may have anything in it.
_functions = r"""
born() {
  if [ -r /proc/sys/kernel/random/boot_id ]; then
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    set -- ${stat##*) }
    case "$1" in Z | X) ;; *) shift 19; echo "$1 $(cat /proc/sys/kernel/random/boot_id)" ;; esac
  else
    case "$(ps -o stat= -p "$1")" in '' | Z*) ;; *) ps -o lstart= -p "$1" ;; esac
  fi
}
alive() { [ -s "$1/pid" ] && [ "$(born "$(head -n 1 "$1/pid")")" = "$(tail -n 1 "$1/pid")" ]; }
"""


class About(msgspec.Struct, frozen=True):
    """What an instance's folder says of it."""

    name: str
    node_type: str
    role: Role


class Listed(msgspec.Struct, frozen=True):
    """A line of the listing."""

    about: About
    state: str
    text: str


def start_script(
    cluster: str, node_type: NodeType, name: str, start: NodeStart, role: Role, *, alone: bool, base: str = BASE
) -> str:
    """Starts an instance unless it is there. `alone`: unless any is there, whose name is printed then."""
    folder = f'"{base}/{cluster}"'
    about = msgspec.json.encode(About(name, node_type.name, role)).decode()
    becomes = "\n".join(
        [
            "set -e",
            'cd "$(dirname "$0")"',
            _functions,
            "{ echo $$; born $$; } >pid.new",
            "mv pid.new pid",
            "[ -e about ] && [ ! -e ending ] || exit 0  # it was ended before it began",
            "here=$PWD",
            node_script(node_type, name, start, role, '"$here/token"', ready=': >"$here/ready"'),
        ]
    )
    refuse = f'for other in */; do [ -d "$other" ] && echo "{BUSY} $other" && exit 0; done' if alone else ":"
    return f"""set -eu
umask 077
mkdir -p {folder}
cd {folder}
exec 9>.lock
flock 9
[ -d {name} ] && exit 0
{refuse}
rm -rf .new
mkdir .new
printf '%s' {shlex.quote(about)} >.new/about
printf '%s\\n' {shlex.quote(start.token)} >.new/token
printf '%s\\n' {shlex.quote(becomes)} >.new/start
mv .new {name}
setsid sh {name}/start >{name}/log 2>&1 </dev/null 9>&- &
"""


def list_script(cluster: str, base: str = BASE) -> str:
    """Prints a line for each instance: its state, what it is, and the end of its log."""
    return f"""set -u
[ -e "{base}/{cluster}" ] || exit 0
cd "{base}/{cluster}" || exit 1
{_functions}
for folder in */; do
  [ -f "$folder/about" ] || continue
  if alive "$folder"; then
    if [ -f "$folder/ready" ]; then state=running; else state=starting; fi
  elif [ -f "$folder/ending" ]; then state=ending
  elif [ ! -f "$folder/pid" ] && [ -n "$(find "$folder/start" -mmin -{_PREPARE_MINUTES} 2>/dev/null)" ]; then
    state=starting
  else state=failed; fi
  printf '%s\\t%s\\t%s\\n' "$state" "$(cat "$folder/about")" "$(tail -n 3 "$folder/log" 2>/dev/null | tr '\\n\\t' '  ')"
done
"""


def end_script(cluster: str, name: str, base: str = BASE) -> str:
    """Ends an instance, in good order where it follows, and removes its folder."""
    return f"""set -u
[ -e "{base}/{cluster}/{name}" ] || exit 0
cd "{base}/{cluster}" || exit 1
{_functions}
: >{name}/ending
if alive {name}; then
  pid=$(head -n 1 {name}/pid)
  kill -s TERM "$pid" 2>/dev/null
  left={_END_S * 10}
  while alive {name} && [ "$left" -gt 0 ]; do left=$((left - 1)); sleep 0.1; done
  kill -s KILL -- "-$pid" 2>/dev/null
fi
rm -rf {name} || rm -rf {name}  # it may just have noted its pid
"""


def read_listing(output: str) -> list[Listed]:
    """What `list_script` has printed."""
    found: list[Listed] = []
    for line in output.splitlines():
        state, about, text = line.split("\t", 2)
        found.append(Listed(msgspec.json.decode(about, type=About), state, text.strip()))
    return found


def as_instance(listed: Listed, instance_id: str, address: str) -> Instance:
    """As the autoscaler knows it."""
    states = {"starting": "starting", "running": "running", "ending": "ending"}
    state = cast("InstanceState", states.get(listed.state, "failed"))
    text = f"its process has ended; the end of its log: {listed.text}" if state == "failed" else ""
    return Instance(listed.about.name, instance_id, listed.about.node_type, state, address, text, listed.about.role)
