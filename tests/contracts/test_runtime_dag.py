"""Lazy graphs (`bind` and `execute`) on every runtime; see conftest.py."""

import importlib
import itertools

import pytest


@pytest.fixture(scope="module")
def dag(ll):
    return importlib.import_module(f"{ll.__name__}.dag")


@pytest.fixture(scope="module")
def add(ll):
    @ll.remote
    def add(a, b=0):
        return a + b

    return add


@pytest.fixture(scope="module")
def pick(ll):
    """Gets what it finds in a box."""

    @ll.remote
    def pick(box):
        return [ll.get(ref) for ref in box["refs"]]

    return pick


class TestTasks:
    def test_nothing_runs_before_it_is_executed(self, ll, add, tmp_path):
        @ll.remote
        def touch():
            (tmp_path / "ran").touch()

        graph = touch.bind()
        assert not list(tmp_path.iterdir())
        ll.get(graph.execute())
        assert list(tmp_path.iterdir())

    def test_a_node_among_the_arguments_is_its_value(self, ll, add):
        first = add.bind(1, b=2)
        assert ll.get(add.bind(first, b=first).execute()) == 6

    def test_a_node_inside_an_argument_is_a_ref(self, ll, add, pick):
        assert ll.get(pick.bind({"refs": [add.bind(1), add.bind(2)]}).execute()) == [1, 2]

    def test_a_node_runs_once_however_many_need_it(self, ll, add, tmp_path):
        numbers = itertools.count()

        @ll.remote
        def mark(number):
            (tmp_path / str(number)).touch()
            return 1

        shared = mark.bind(next(numbers))
        assert ll.get(add.bind(add.bind(shared, shared), shared).execute()) == 3
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_graph_can_be_executed_again(self, ll, add):
        graph = add.bind(add.bind(1), 1)
        assert ll.get([graph.execute(), graph.execute()]) == [2, 2]

    def test_a_deep_graph(self, ll, better_than_ray, add):
        """Ray reaches the limit of recursion."""
        graph = add.bind(0)
        for _ in range(1500):
            graph = add.bind(graph, 1)
        assert ll.get(graph.execute(), timeout=60) == 1500

    def test_options_are_kept(self, ll):
        @ll.remote
        def name():
            return ll.get_runtime_context().get_task_name()

        assert ll.get(name.options(name="other").bind().execute()) == "other"

    def test_arguments_are_checked_when_they_are_bound(self, add, better_than_ray):
        with pytest.raises(TypeError, match="add"):
            add.bind(1, 2, 3)


class TestActors:
    def test_calls_run_in_the_order_in_which_they_were_bound(self, ll, counter_class):
        counter = counter_class.bind(10)
        counter.add.bind(1)
        counter.add.bind(2)
        assert ll.get(counter.add.bind(0).execute()) == 13

    def test_every_execution_has_an_actor_of_its_own(self, ll, counter_class):
        graph = counter_class.bind(0).add.bind(5)
        assert ll.get([graph.execute(), graph.execute()]) == [5, 5]

    def test_an_actor_that_is_there_already(self, ll, counter_class, add):
        counter = counter_class.remote(1)
        graph = add.bind(counter.add.bind(1), 10)
        assert ll.get(graph.execute()) == 12
        assert ll.get(graph.execute()) == 13

    def test_a_class_node_is_a_handle(self, ll, counter_class):
        counter = counter_class.bind(4).execute()
        assert ll.get(counter.add.remote()) == 5

    def test_what_is_no_method(self, counter_class):
        with pytest.raises(AttributeError, match="nothing"):
            counter_class.bind().nothing.bind()


class TestInput:
    def test_one_value(self, ll, dag, add):
        with dag.InputNode() as given:
            graph = add.bind(given, add.bind(given, 1))
        assert ll.get(graph.execute(1)) == 3
        assert ll.get(graph.execute(2)) == 5

    def test_several_values(self, ll, dag, add):
        with dag.InputNode() as given:
            graph = add.bind(given[0], given.other)
        assert ll.get(graph.execute(1, other=2)) == 3

    def test_parts_of_one_value(self, ll, dag, add):
        with dag.InputNode() as given:
            graph = add.bind(given["a"], given["b"])
        assert ll.get(graph.execute({"a": 1, "b": 2})) == 3

    def test_what_is_missing_is_named(self, dag, add, better_than_ray):
        with dag.InputNode() as given:
            part, whole = add.bind(given[1]), add.bind(given)
        with pytest.raises(TypeError, match=r"InputNode\(\)\[1\]"):
            part.execute(1, other=2)
        with pytest.raises(TypeError, match="2 positional"):
            whole.execute(1, 2)
        with pytest.raises(TypeError, match="iterated"):
            list(given)

    def test_several_results(self, ll, dag, add):
        with dag.InputNode() as given:
            graph = dag.MultiOutputNode([add.bind(given, 1), add.bind(given, 2)])
        assert ll.get(graph.execute(1)) == [2, 3]


def test_a_node_is_no_argument_of_remote(add, better_than_ray):
    with pytest.raises(TypeError, match="execute"):
        add.remote(add.bind(1))


def test_there_are_no_compiled_graphs(add, better_than_ray):
    with pytest.raises(NotImplementedError, match="execute"):
        add.bind(1).experimental_compile()
