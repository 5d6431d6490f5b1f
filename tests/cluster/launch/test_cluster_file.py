"""What a cluster's file may say, and how its faults are told."""

import re
import sys
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limelight.cluster.command.main import main
from limelight.cluster.launch.cluster_file import (
    EXAMPLES,
    FileSection,
    TypeSection,
    parse_cluster_file,
    read_cluster_file,
)
from limelight.cluster.launch.document import Document, DocumentError
from limelight.cluster.provider.local import LocalProvider
from limelight.cluster.provider.openstack import OpenStackProvider
from limelight.cluster.scheduling.resources import ResourceSet

GOOD = """\
cluster_name: mine
provider:
  type: openstack
  cloud: pouta
  image: Ubuntu-24.04
head_node_type: small
idle_timeout_minutes: 2
setup_commands:
  - pip install limelight
worker_setup_commands: [echo worker]
node_types:
  small:
    resources: {CPU: 4}
    machine: {flavor: standard.medium}
  gpu:
    resources: {CPU: 8, GPU: 2, memory: 64GB}
    labels: {disk: nvme}
    min_workers: 1
    max_workers: 3
    machine: {flavor: gpu.1.1gpu}
"""


def faults(text):
    """(line, column, words) of each fault."""
    with pytest.raises(DocumentError) as caught:
        parse_cluster_file("c.yaml", text)
    found = []
    for line in re.split(r"\n(?=c\.yaml:)", str(caught.value)):
        match = re.match(r"c\.yaml:(\d+):(\d+): (.*)", line, re.DOTALL)
        assert match, line
        found.append((int(match[1]), int(match[2]), match[3]))
    return found


async def test_a_good_file():
    file = parse_cluster_file("c.yaml", GOOD)
    scaling = file.scaling()
    assert scaling.max_workers == 3
    assert scaling.idle_timeout == 120
    gpu = scaling.node_types["gpu"]
    assert gpu.resources == ResourceSet.parse({"CPU": 8, "GPU": 2, "memory": 64e9})
    assert (gpu.min_workers, gpu.max_workers, gpu.machine) == (1, 3, {"flavor": "gpu.1.1gpu"})
    assert file.head_type().name == "small"
    assert file.worker_start("t", "h:1").setup == ("pip install limelight", "echo worker")
    start = file.head_start("t")
    assert start.setup[-1] == "pip install limelight"
    assert start.arguments == ("--autoscaling", "~/.limelight/clusters/mine.yaml"), "for there may be more of a type"
    fixed = parse_cluster_file("c.yaml", GOOD.replace("max_workers: 3", "max_workers: 1"))
    assert (fixed.head_start("t").setup, fixed.head_start("t").arguments) == (("pip install limelight",), ())
    provider = file.provider()
    assert isinstance(provider, OpenStackProvider)
    await provider.close()


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "words"),
    [
        ("max_workers: 3", "max_worker: 3", 19, 5, "'gpu' has no key 'max_worker'. Did you mean 'max_workers'"),
        ("max_workers: 3", "max_workers: many", 19, 18, "Expected `int | null`, got `str`"),
        ("min_workers: 1", "min_workers: 4", 18, 18, "0 <= min_workers <= max_workers must hold"),
        ("head_node_type: small", "head_node_type: smal", 6, 17, "there is no node type 'smal'. Did you mean 'small'"),
        ("head_node_type: small\n", "", 1, 1, "needs the key 'head_node_type'. For example: head_node_type: small"),
        ("type: openstack", "type: openstak", 3, 9, "no type 'openstak'. Did you mean 'openstack'"),
        ("  type: openstack\n", "", 3, 3, "'provider' needs the key 'type'"),
        ("cloud: pouta", "clod: pouta", 4, 3, "'provider' has no key 'clod'. Did you mean 'cloud'"),
        ("{CPU: 4}", "{CPU: -4}", 13, 16, "resources cannot be negative"),
        ("{CPU: 4}", "{CPU: four}", 13, 16, "The amount of 'CPU' must be a number, not 'four'"),
        ("{CPU: 4}", "{memory: 4 bags}", 13, 16, "'memory': '4 bags' is no size"),
        ("{CPU: 4}", "{CPU: [4]}", 13, 22, "Expected `float | str`, got `array`"),
        ("{CPU: 4}", "[CPU]", 13, 16, "'resources' must be a mapping"),
        ("{flavor: standard.medium}", "{flavour: x}", 14, 15, "has no key 'flavour'. Did you mean 'flavor'"),
        ("{disk: nvme}", "{disk: -x-}", 17, 13, "no value for label 'disk'"),
        ("  small:\n", "  Small!:\n", 12, 3, "is no name for a node type"),
        ("cluster_name: mine", "cluster_name: My Cluster", 1, 15, "is no name for a cluster"),
        ("idle_timeout_minutes: 2", "idle_timeout_minutes: -2", 7, 23, "cannot be negative"),
        ("  - pip install limelight", "  pip: install", 9, 3, "'setup_commands' must be a list"),
        ("min_workers: 1", "max_workers: 1", 19, 5, "'max_workers' stands in line 18 already"),
        ("{CPU: 4}", "{CPU: 4", 14, 12, "this is not YAML"),
        ("  cloud: pouta", "\tcloud: pouta", 4, 1, "this is not YAML: while scanning for the next token, found char"),
        ("cloud: pouta", "cloud: po\auta", 4, 12, "this is not YAML: the character '\\x07'"),
        ("node_types:", "---\nnode_types:", 11, 1, "but found another document"),
        ("{CPU: 4}", "&a {CPU: *a}", 13, 16, "this contains itself"),
        ("{CPU: 4}", "{[CPU]: 4}", 13, 17, "a key must be a plain word"),
        ("{CPU: 4}", "!cpus {CPU: 4}", 13, 16, "'!cpus' is no tag"),
        ("{CPU: 4}", "{CPU: !!int four}", 13, 22, "'four' cannot be read"),
        (
            "cluster_name: mine",
            "cluster_name: 2026-13-45",
            1,
            15,
            "'2026-13-45' cannot be read: month must be in 1..12",
        ),
        ("cluster_name: mine", "cluster_name: 5", 1, 15, "Expected `str`, got `int`"),
        ("idle_timeout_minutes: 2", "idle_timeout_minutes: .nan", 7, 23, "is nan, and is no number"),
        ("idle_timeout_minutes: 2", "max_workers: 0", 7, 14, "but the min_workers of all types together are 1"),
        ("idle_timeout_minutes: 2", "head_port: 65536", 7, 12, "ports go from 1 to 65535"),
        ("idle_timeout_minutes: 2", "head_port: true", 7, 12, "Expected `int`, got `bool`"),
        ("idle_timeout_minutes: 2", "program: []", 7, 10, "'program' has no word"),
        ("idle_timeout_minutes: 2", "environment: {A B: x}", 7, 15, "'A B' is no name of a variable"),
        ("idle_timeout_minutes: 2", "environment: {A: 2}", 7, 18, "Expected `str`, got `int`"),
        ("{flavor: standard.medium}", "{flavor: [x]}", 14, 23, "'flavor': Expected `str`"),
        ("{flavor: standard.medium}", "{flavor: x, security_groups: x}", 14, 43, "'security_groups' must be a list"),
        (
            "{flavor: standard.medium}",
            "{image: x}",
            12,
            3,
            "the node type 'small' has no 'flavor': say it in its 'machine'.",
        ),
        (
            "  image: Ubuntu-24.04\n",
            "",
            11,
            3,
            "has no 'image': say it in its 'machine', or in 'provider' for all types.",
        ),
        (GOOD[GOOD.index("node_types:") :], "node_types: {}\n", 11, 13, "'node_types' names no type"),
    ],
)
def test_a_fault_is_told_with_its_place_and_what_would_be_right(old, new, line, column, words):
    assert old in GOOD
    found = faults(GOOD.replace(old, new))
    assert (line, column) in [one[:2] for one in found], found
    assert any(words in one[2] for one in found if one[:2] == (line, column)), found


@pytest.mark.parametrize(
    ("old", "new", "example"),
    [
        ("max_workers: 3", "max_worker: 3", ""),
        ("cloud: pouta", "clod: pouta", ""),
        ("idle_timeout_minutes: 2", "idle_timeout_minutes: -2", "idle_timeout_minutes: 5"),
        ("idle_timeout_minutes: 2", "idle_timeout_minutes: soon", "idle_timeout_minutes: 5"),
        ("min_workers: 1", "min_workers: 4", "max_workers: 10"),
        ("{flavor: standard.medium}", "{flavour: x}", ""),
        ("{disk: nvme}", "{type: [1]}", "labels: {disk: nvme}"),
        ("{CPU: 4}", "{CPU: [4]}", "resources: {CPU: 4, GPU: 1, memory: 8GiB}"),
        ("cluster_name: mine", "cluster_name: My Cluster", "cluster_name: mine"),
        ("min_workers: 1", "max_workers: 1", ""),
    ],
)
def test_the_example_is_of_what_is_wrong(old, new, example):
    told = faults(GOOD.replace(old, new))
    assert [words.partition(" For example: ")[2] for _, _, words in told] == [example]


@pytest.mark.parametrize("name", sorted({*FileSection.__struct_fields__, *TypeSection.__struct_fields__}))
def test_every_key_has_an_example_that_is_good(name):
    document = Document("c.yaml", f"{name}: [[[]]]", EXAMPLES)
    kinds = typing.get_type_hints(FileSection) | typing.get_type_hints(TypeSection)
    document.read(document.find(name), kinds[name], name)
    with pytest.raises(DocumentError) as caught:
        document.check()
    example = str(caught.value).partition(" For example: ")[2]
    good = Document("c.yaml", example, EXAMPLES)
    assert good.read(good.find(name), kinds[name], name) is not None
    good.check()


def test_where_only_a_package_is_missing_nothing_is_said_of_the_file(tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text(GOOD)
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert main(["up", str(tmp_path / "c.yaml")]) == 1
    assert capsys.readouterr().err == 'cluster: Cluster files need a package: pip install "limelight[launch]"\n'


PIECES = ["{", "}", "[", "]", "&a ", "*a", "!x ", "!!int ", ": ", "- ", "? ", "<<: ", "\t", "\n", "  ", "#", "|", "'",
          '"', "~", "-1", ".nan", "1e400", "2026-13-45", "\x00", "\ud800", "null", "9" * 5000]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), st.sampled_from(PIECES)), max_size=4))
def test_whatever_is_written_is_read_or_refused_with_a_line(edits):
    text = GOOD
    for start, length, piece in edits:
        text = text[:start] + piece + text[start + length :]
    told = "c.yaml:1:1: "
    try:
        parse_cluster_file("c.yaml", text)
    except DocumentError as error:
        told = str(error)
    assert re.match(r"c\.yaml:\d+:\d+: ", told)


@pytest.mark.parametrize(
    ("provider", "machine", "words"),
    [
        ("{type: local}", "{flavor: x}", "'machine' has no key 'flavor', nor any."),
        ("{type: kubernetes, image: x}", "{pod: 3}", "'pod' must be a mapping"),
        ("{type: kubernetes}", "{}", "has no 'image'"),
        ("{type: ssh, hosts: [a]}", "{hosts: b}", "'hosts' must be a list"),
        ("{type: ssh, hosts: []}", "{}", "has no 'hosts'"),
        ("{type: slurm}", "{gres: [gpu]}", "'gres': Expected `int | float | str`, got `array`"),
    ],
)
def test_what_a_machine_may_say_depends_on_its_provider(provider, machine, words):
    start = f"cluster_name: mine\nprovider: {provider}\nhead_node_type: a\nnode_types:\n"
    [(line, _, told)] = faults(f"{start}  a:\n    machine: {machine}\n")
    assert words in told
    assert line in {5, 6}


def test_all_faults_are_told_at_once():
    text = GOOD.replace("max_workers: 3", "max_worker: 3").replace("cloud: pouta", "clod: pouta")
    assert [one[:2] for one in faults(text)] == [(4, 3), (19, 5)]


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "3\n"])
def test_what_is_no_mapping_is_told_so(text):
    assert faults(text)[0][0] == 1


def test_a_file_that_is_not_there_is_told_so(tmp_path):
    with pytest.raises(DocumentError, match="cannot be read: No such file"):
        read_cluster_file(tmp_path / "nothing.yaml")


def examples():
    """The files that the documentation shows."""
    text = (Path(__file__).parents[3] / "docs" / "cluster-yaml.md").read_text()
    return re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", examples())
async def test_the_examples_of_the_documentation_are_good(text):
    file = parse_cluster_file("c.yaml", text)
    provider = file.provider()
    assert isinstance(provider, LocalProvider) == (file.section.provider["type"] == "local")
    await provider.close()
