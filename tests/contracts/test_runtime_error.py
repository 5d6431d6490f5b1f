"""How tasks fail, what options are refused, and what code knows of where it runs; see conftest.py for the runtimes."""

import os
import re

import pytest

DEADLINE = 30.0


@pytest.fixture(scope="module")
def fail(ll):
    class UserError(Exception):
        def __init__(self, code, detail):
            super().__init__(code, detail)
            self.code = code

    @ll.remote
    def fail():
        raise UserError(42, "detail")

    return fail


class TestErrors:
    def caught(self, ll, ref):
        with pytest.raises(Exception) as info:
            ll.get(ref, timeout=DEADLINE)
        return info.value

    def test_an_error_is_of_the_users_class(self, ll, fail):
        error = self.caught(ll, fail.remote())
        assert isinstance(error, ll.exceptions.RayTaskError)
        assert isinstance(error, ll.exceptions.RayError)
        assert [cls.__name__ for cls in type(error).__mro__].count("UserError") == 1
        assert error.code == 42
        assert type(error.cause).__name__ == "UserError"
        assert error.cause.code == 42

    def test_it_shows_the_remote_traceback_and_the_task(self, ll, fail):
        text = str(self.caught(ll, fail.remote()))
        assert "fail" in text
        assert "raise UserError(42" in text
        assert f"pid{'=' if 'pid=' in text else ' '}" in text

    def test_it_passes_through_tasks_that_need_the_value(self, ll, fail):
        @ll.remote
        def use(value):
            return value

        error = self.caught(ll, use.remote(use.remote(fail.remote())))
        assert error.code == 42

    def test_it_passes_through_tasks_that_get_it(self, ll, fail):
        @ll.remote
        def use():
            return ll.get(fail.remote())

        assert self.caught(ll, use.remote()).code == 42

    def test_the_first_error_of_a_list_is_raised(self, ll, fail):
        @ll.remote
        def other():
            raise KeyError("other")

        refs = [ll.put(1), other.remote(), fail.remote()]
        ll.wait(refs, num_returns=3, timeout=DEADLINE)  # Ray raises the one that it hears of first
        assert isinstance(self.caught(ll, refs), KeyError)

    def test_stop_iteration(self, ll):
        @ll.remote
        def stop():
            raise StopIteration(3)

        assert isinstance(self.caught(ll, stop.remote()), StopIteration)

    def test_a_result_that_cannot_be_pickled(self, ll):
        @ll.remote
        def lock():
            import threading

            return threading.Lock()

        assert isinstance(self.caught(ll, lock.remote()), TypeError)

    def test_a_task_that_exits(self, ll):
        @ll.remote(max_retries=0)
        def leave():
            raise SystemExit(3)

        assert isinstance(self.caught(ll, leave.remote()), ll.exceptions.WorkerCrashedError)

    def test_a_task_whose_process_dies(self, ll, not_local):
        @ll.remote(max_retries=0)
        def die():
            os._exit(1)

        assert isinstance(self.caught(ll, die.remote()), ll.exceptions.WorkerCrashedError)


@pytest.fixture(scope="module")
def f(ll):
    @ll.remote
    def f():
        return 1

    return f


@pytest.fixture(scope="module")
def actor_class(ll):
    @ll.remote
    class A:
        pass

    return A


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"num_cpu": 1}, ValueError),
            ({"max_restarts": 1}, ValueError),
            ({"num_cpus": "1"}, TypeError),
            ({"num_cpus": -1}, ValueError),
            ({"num_cpus": 0.00001}, ValueError),
            ({"num_returns": -1}, ValueError),
            ({"num_returns": "streaming"}, ValueError),
            ({"max_retries": -2}, ValueError),
            ({"max_calls": 1}, ValueError),
            ({"resources": {"CPU": 1}}, ValueError),
            ({"resources": [1]}, TypeError),
            ({"retry_exceptions": [1]}, ValueError),
            ({"retry_exceptions": ValueError}, TypeError),
            ({"runtime_env": "x"}, TypeError),
            ({"object_store_memory": 1}, (TypeError, ValueError)),
            ({"name": 1}, TypeError),
            ({"accelerator_type": 1}, TypeError),
            ({"label_selector": {"a": "in()"}}, ValueError),
            ({"fallback_strategy": [{}]}, ValueError),
            ({"_generator_backpressure_num_objects": 0}, ValueError),
        ],
        ids=str,
    )
    def test_of_tasks(self, f, options, error):
        with pytest.raises(error, match=re.sub("_(?=.)", "[_ ]", next(iter(options)))):
            f.options(**options)

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"num_returns": 2}, ValueError),
            ({"lifetime": "for ever"}, ValueError),
            ({"max_restarts": -2}, ValueError),
            ({"max_concurrency": "2"}, TypeError),
            ({"concurrency_groups": {"io": 1}}, ValueError),
            ({"max_pending_calls": 1.5}, TypeError),
            ({"get_if_exists": 1}, TypeError),
            ({"namespace": 1}, TypeError),
        ],
        ids=str,
    )
    def test_of_actors(self, actor_class, options, error):
        with pytest.raises(error, match=next(iter(options))):
            actor_class.options(**options)

    def test_of_methods(self, ll):
        for options in ({"num_cpus": 1}, {"num_returns": -1}):
            with pytest.raises((ValueError, AssertionError), match=next(iter(options))):
                ll.method(**options)(lambda self: 1)

    def test_an_unknown_option_names_the_nearest(self, ll, f, actor_class, better_than_ray):
        """Ray lists all, and does not look at a misspelt option of a method before the call."""
        with pytest.raises(ValueError, match=r"Did you mean 'num_cpus'"):
            f.options(num_cpu=1)
        with pytest.raises(ValueError, match=r"Did you mean 'max_restarts'"):
            actor_class.options(max_restart=1)
        with pytest.raises(ValueError, match=r"Did you mean 'num_returns'"):
            ll.method(num_return=1)
        with pytest.raises(ValueError, match=r"Did you mean 'max_retries'"):
            ll.remote(max_retrys=1)
        with pytest.raises(TypeError, match=r"num_cpus must be a number.*'2'.*str"):
            f.options(num_cpus="2")

    def test_what_can_be_remote(self, ll, better_than_ray):
        """Ray raises AssertionError or AttributeError for some of these."""
        for wrong in (1, len, "x".upper):
            with pytest.raises(TypeError, match="function"):
                ll.remote(wrong)
            with pytest.raises(TypeError, match="function"):
                ll.remote(num_cpus=1)(wrong)
        with pytest.raises(TypeError, match="parentheses"):
            ll.remote()
        with pytest.raises(TypeError, match="remote already"):
            ll.remote(ll.remote(lambda: 1))
        with pytest.raises(TypeError, match=r"limelight\.actor"):
            ll.task(int)
        with pytest.raises(TypeError, match=r"limelight\.task"):
            ll.actor(lambda: 1)

    def test_coroutine_functions_are_no_tasks(self, ll):
        async def coroutine():
            pass

        with pytest.raises(ValueError, match=r"asyncio\.run"):
            ll.remote(coroutine)

    def test_options_leave_the_original_alone(self, ll, f):
        assert ll.get(f.options(num_cpus=0, name="other").remote()) == 1
        assert ll.get(f.remote()) == 1


class TestContext:
    def test_in_a_driver(self, ll):
        context = ll.get_runtime_context()
        assert len(context.get_job_id()) == 8
        assert len(context.get_node_id()) == 56
        assert context.get_actor_id() is None
        assert context.namespace == "contract"
        assert ll.is_initialized()

    def test_in_a_task(self, ll):
        @ll.remote(num_cpus=2)
        def look():
            context = ll.get_runtime_context()
            return {
                "name": context.get_task_name(),
                "function": context.get_task_function_name(),
                "task": context.get_task_id(),
                "actor": context.get_actor_id(),
                "job": context.get_job_id(),
                "node": context.get_node_id(),
                "resources": context.get_assigned_resources(),
                "namespace": context.namespace,
                "gpus": ll.get_gpu_ids(),
            }

        ref = look.options(name="looking").remote()
        seen = ll.get(ref, timeout=DEADLINE)
        here = ll.get_runtime_context()
        assert seen["name"] == "looking"
        assert seen["function"].endswith("look")
        assert seen["task"] == ref.task_id().hex()
        assert seen["actor"] is None
        assert (seen["job"], seen["node"]) == (here.get_job_id(), here.get_node_id())
        assert seen["resources"] == {"CPU": 2.0}
        assert seen["namespace"] == "contract"
        assert seen["gpus"] == []

    def test_in_an_actor(self, ll):
        @ll.remote
        class Looker:
            def look(self):
                context = ll.get_runtime_context()
                return context.get_actor_id(), context.get_actor_name(), context.get_task_name(), context.actor_id

        looker = Looker.options(name="looker").remote()
        actor_id, name, task, identifier = ll.get(looker.look.remote(), timeout=DEADLINE)
        assert actor_id == looker._actor_id.hex() == identifier.hex()
        assert (name, task) == ("looker", "Looker.look")

    def test_resources(self, ll):
        assert ll.cluster_resources()["CPU"] == 4
        [node] = ll.nodes()
        assert node["Alive"] is node["alive"] is True
        assert ll.available_resources().get("CPU", 0) <= 4
        (node,) = ll.nodes()
        assert node["Alive"]
        assert node["NodeID"] == ll.get_runtime_context().get_node_id()
        assert node["Resources"]["CPU"] == 4

    def test_outside_of_actors(self, ll):
        with pytest.raises(RuntimeError, match="actor"):
            _ = ll.get_runtime_context().current_actor


class TestSession:
    def test_a_second_init(self, ll):
        with pytest.raises(RuntimeError, match="ignore_reinit_error"):
            ll.init()
        assert ll.init(ignore_reinit_error=True) is not None

    def test_unknown_arguments(self, ll, better_than_ray):
        """Ray looks at them only when there is no session."""
        with pytest.raises(RuntimeError, match="Did you mean 'num_cpus'"):
            ll.init(num_cpu=2)
