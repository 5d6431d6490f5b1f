"""GPUs are found by NVML and CUDA_VISIBLE_DEVICES; workers see only theirs. NVML is a fake here."""

# ruff: noqa: N802  # the fake has NVML's names

import sys
from types import SimpleNamespace

import pytest

from limelight.actors import accelerator
from limelight.actors.accelerator import Gpu


class FakeNvml:
    """What the code uses of NVIDIA's pynvml."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, names=(), driver=True, mig=(), broken=False, as_bytes=False):
        self.names = names
        self.driver = driver
        self.mig = dict(mig)
        self.broken = broken
        self.as_bytes = as_bytes
        self.open = 0

    def nvmlInit(self):
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):
        if self.broken:
            raise self.NVMLError("GPU is lost")
        return (index, None)

    def nvmlDeviceGetMigMode(self, handle):
        if handle[0] not in self.mig:
            raise self.NVMLError("Not Supported")
        return (1, 1)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index >= self.mig[handle[0]]:
            raise self.NVMLError("Not Found")
        return (handle[0], index)

    def nvmlDeviceGetUUID(self, handle):
        gpu, part = handle
        return self.text(f"GPU-{gpu}{gpu}aa" if part is None else f"MIG-{gpu}{part}bb")

    def nvmlDeviceGetName(self, handle):
        return self.text(self.names[handle[0]] if handle[1] is None else "MIG 1g.5gb")

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(total=80 << 30)

    def text(self, value):
        return value.encode() if self.as_bytes else value


@pytest.fixture
def install(monkeypatch):
    def install(**options):
        fake = FakeNvml(**options)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        monkeypatch.setattr(accelerator, "_LIBRARY", None)  # a name that is always there: the program itself
        return fake

    return install


def devices(environ):
    return [gpu.device for gpu in accelerator.detect(environ)]


FOUR = ["NVIDIA A100-SXM4-80GB"] * 4


class TestDetection:
    def test_all_gpus_of_the_machine(self, install):
        fake = install(names=FOUR)
        assert devices({}) == ["0", "1", "2", "3"]
        assert accelerator.detect({})[1] == Gpu("1", "GPU-11aa", "NVIDIA A100-SXM4-80GB", 80 << 30)
        assert fake.open == 0

    def test_older_bindings_answer_in_bytes(self, install):
        install(names=FOUR, as_bytes=True)
        assert accelerator.detect({})[0].uuid == "GPU-00aa"

    def test_no_driver_means_no_gpus(self, install, caplog):
        install(driver=False)
        assert accelerator.detect({}) == []
        assert not [record for record in caplog.records if record.levelname != "DEBUG"]

    def test_no_binding_means_no_gpus(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pynvml", None)
        monkeypatch.setattr(accelerator, "_LIBRARY", None)
        assert accelerator.detect({}) == []

    def test_the_binding_is_not_imported_where_no_driver_is_installed(self, monkeypatch):
        monkeypatch.setattr(accelerator, "_LIBRARY", "libno-such-driver.so.1")
        monkeypatch.delitem(sys.modules, "pynvml", raising=False)
        assert accelerator.detect({}) == []
        assert "pynvml" not in sys.modules

    def test_a_broken_gpu_is_said_to_be(self, install, caplog):
        fake = install(names=FOUR, broken=True)
        assert accelerator.detect({}) == []
        assert "GPU is lost" in caplog.text
        assert "num_gpus" in caplog.text
        assert fake.open == 0

    def test_mig_slices_count_and_go_by_uuid(self, install):
        install(names=FOUR[:2], mig={0: 2})
        assert devices({}) == ["MIG-00bb", "MIG-01bb", "GPU-11aa"]
        assert accelerator.resources(accelerator.detect({})) == {"GPU": 3.0, "accelerator_type:A100": 1.0}


class TestVisibleDevices:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("2,3", ["2", "3"]),
            ("3, 1", ["3", "1"]),
            ("", []),
            ("-1", []),
            ("NoDevFiles", []),
            ("0,-1,1", ["0"]),
            ("0,9,1", ["0"]),
            ("1,1", ["1"]),
            ("GPU-22aa", ["GPU-22aa"]),
            ("GPU-2,GPU-0", ["GPU-2", "GPU-0"]),
            ("GPU-", []),
        ],
    )
    def test_are_read_as_cuda_reads_them(self, install, value, expected):
        install(names=FOUR)
        assert devices({"CUDA_VISIBLE_DEVICES": value}) == expected

    def test_may_name_mig_slices(self, install):
        install(names=FOUR, mig={0: 3})
        assert devices({"CUDA_VISIBLE_DEVICES": "MIG-02bb,MIG-00bb"}) == ["MIG-02bb", "MIG-00bb"]

    def test_nothing_visible_does_not_ask_the_driver(self, install):
        fake = install(names=FOUR)
        fake.nvmlInit = None
        assert devices({"CUDA_VISIBLE_DEVICES": ""}) == []


class TestWorkers:
    def test_see_only_the_gpus_they_were_given_by_the_nodes_names(self):
        environ = {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}
        accelerator.restrict(environ, accelerator.assigned_devices(["4", "5", "6", "7"], [1, 3]))
        assert environ["CUDA_VISIBLE_DEVICES"] == "5,7"

    def test_by_uuid(self):
        assert accelerator.assigned_devices(["MIG-a", "GPU-b"], [1]) == ["GPU-b"]

    def test_see_what_the_node_sees_when_given_none(self):
        environ = {"CUDA_VISIBLE_DEVICES": "4"}
        accelerator.restrict(environ, [])
        assert environ == {"CUDA_VISIBLE_DEVICES": "4"}

    def test_see_none_when_given_none_where_the_user_wants_it_so(self):
        environ = {accelerator.HIDE_ON_ZERO: "1"}
        accelerator.restrict(environ, [])
        assert environ["CUDA_VISIBLE_DEVICES"] == ""

    def test_gpus_that_the_user_claims_there_are(self):
        assert accelerator.assigned_devices([], [0, 2]) == ["0", "2"]

    @pytest.mark.parametrize(("value", "left"), [("1", True), ("0", False), ("", False)])
    def test_can_be_left_alone(self, value, left):
        environ = {accelerator.LEAVE_ALONE: value, "CUDA_VISIBLE_DEVICES": "0,1"}
        accelerator.restrict(environ, ["1"])
        assert environ["CUDA_VISIBLE_DEVICES"] == ("0,1" if left else "1")


class TestResources:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("NVIDIA A100-SXM4-40GB", "A100"),
            ("Tesla V100-SXM2-16GB", "V100"),
            ("Tesla T4", "T4"),
            ("NVIDIA H100 80GB HBM3", "H100"),
            ("NVIDIA H200", "H200"),
            ("NVIDIA A10G", "A10G"),
            ("NVIDIA L4", "L4"),
            ("NVIDIA L40S", "L40S"),
            ("NVIDIA GeForce RTX 3090", "3090"),
            ("Quadro RTX 6000", "6000"),
            ("Something", None),
        ],
    )
    def test_short_names(self, name, kind):
        assert accelerator.accelerator_type(name) == kind

    def test_of_a_node(self):
        gpus = [Gpu("0", "GPU-a", "NVIDIA A100-SXM4-40GB", 1), Gpu("1", "GPU-b", "Tesla T4", 1)]
        assert accelerator.resources(gpus) == {"GPU": 2.0, "accelerator_type:A100": 1.0, "accelerator_type:T4": 1.0}
        assert accelerator.resources([]) == {}
