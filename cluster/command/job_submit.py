"""The options of `cluster job submit`, and what they ask for. Names are those of `ray job submit`."""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from ..client.failure import CommandError
from .node_option import amounts, size


def add_submit_options(parser: argparse.ArgumentParser) -> None:
    """Add them to the verb's parser."""
    parser.add_argument("--submission-id", metavar="ID", help="the job's name (default: one is made up)")
    parser.add_argument("--working-dir", metavar="FOLDER", help="uploaded, and where the command runs")
    env = parser.add_mutually_exclusive_group()
    env.add_argument("--runtime-env", metavar="FILE", help="its runtime environment, in YAML or JSON")
    env.add_argument("--runtime-env-json", type=_mapping, metavar="JSON", help="its runtime environment")
    parser.add_argument("--metadata-json", type=_texts, metavar="JSON", help="""such as '{"owner": "me"}'""")
    held = parser.add_argument_group("what the command itself holds, beside its tasks (default: nothing)")
    held.add_argument("--entrypoint-num-cpus", type=float, metavar="N")
    held.add_argument("--entrypoint-num-gpus", type=float, metavar="N")
    held.add_argument("--entrypoint-memory", type=size, metavar="SIZE")
    held.add_argument("--entrypoint-resources", type=amounts, metavar="JSON")
    held.add_argument("--entrypoint-label-selector", type=_texts, metavar="JSON", help="labels of the node it runs on")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until the job is over")
    parser.add_argument(
        "entrypoint", nargs="+", help="the command, after `--`; a single word is a shell's command line"
    )


def submission(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `submit_job`."""
    words: list[str] = options.entrypoint
    names = ("num_cpus", "num_gpus", "memory", "resources", "label_selector")
    held = {f"entrypoint_{name}": getattr(options, f"entrypoint_{name}") for name in names}
    return {
        "entrypoint": words[0] if len(words) == 1 else shlex.join(words),
        "submission_id": options.submission_id,
        "runtime_env": _runtime_env(options),
        "metadata": options.metadata_json,
        **held,
    }


def _runtime_env(options: argparse.Namespace) -> dict[str, Any]:
    env: dict[str, Any] = dict(options.runtime_env_json or {})
    if options.runtime_env:
        env = _read(Path(options.runtime_env))
    if options.working_dir:
        env["working_dir"] = options.working_dir
    return env


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            found: Any = json.loads(text)
        else:
            found = _load_yaml(text)
    except (OSError, ValueError) as error:
        raise CommandError(f"The runtime environment in {path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise CommandError(f"The runtime environment in {path} is no mapping of fields to values.")
    return found


def _load_yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise CommandError("YAML needs a package: pip install pyyaml. Or write the file in JSON (.json).") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _mapping(text: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not JSON ({error}).") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"""{text!r} is no JSON object, such as {{"name": "value"}}.""")
    return found


def _texts(text: str) -> dict[str, str]:
    found = _mapping(text)
    if not all(isinstance(value, str) for value in found.values()):
        raise argparse.ArgumentTypeError(f"""{text!r}: each value must be text, such as {{"name": "value"}}.""")
    return found
