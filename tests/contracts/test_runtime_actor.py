"""What every runtime does for actors, their handles and their names; see conftest.py for the runtimes."""

import pytest


class TestCalls:
    def test_an_actor_keeps_state_and_order(self, ll, counter_class):
        counter = counter_class.remote(10)
        assert ll.get([counter.add.remote() for _ in range(100)]) == list(range(11, 111))

    def test_each_actor_has_its_own(self, ll, counter_class):
        one, other = counter_class.remote(), counter_class.remote(start=5)
        assert ll.get([one.add.remote(), other.add.remote(k=2)]) == [1, 7]

    def test_refs_as_arguments(self, ll, counter_class):
        counter = counter_class.remote(ll.put(1))
        assert ll.get(counter.add.remote(counter.add.remote(1))) == 4

    def test_all_kinds_of_methods(self, ll, counter_class):
        counter = counter_class.remote()
        assert ll.get(counter._private.remote()) == "private"
        assert ll.get(counter.static.remote(3)) == 3
        assert ll.get(counter.cls_name.remote()) == "Counter"
        assert ll.get(counter.__call__.remote(4)) == 4

    def test_what_is_no_method(self, counter_class):
        counter = counter_class.remote()
        for name in ("nothing", "n", "prop"):
            with pytest.raises(AttributeError):
                getattr(counter, name)

    def test_a_misspelt_method_names_the_nearest(self, counter_class, better_than_ray):
        """Ray only says that there is none."""
        with pytest.raises(AttributeError, match="Did you mean 'add'"):
            counter_class.remote().ad.remote()

    def test_methods_are_called_with_what_they_accept(self, ll, counter_class):
        with pytest.raises(TypeError, match="too many positional arguments"):
            counter_class.remote().add.remote(1, 2)
        with pytest.raises(TypeError, match="unexpected keyword argument 'x'"):
            counter_class.remote(x=1)

    def test_classes_and_methods_are_not_called_directly(self, counter_class):
        with pytest.raises(TypeError, match=r"Counter\.remote\("):
            counter_class()
        with pytest.raises(TypeError, match=r"add\.remote\("):
            counter_class.remote().add()

    def test_errors_leave_the_actor_alive(self, ll, counter_class):
        counter = counter_class.remote()
        with pytest.raises(ValueError, match="bad"):
            ll.get(counter.fail.remote())
        assert ll.get(counter.add.remote()) == 1

    def test_dir_lists_the_methods(self, counter_class):
        assert {"add", "fail", "static"} <= set(dir(counter_class.remote()))

    def test_inherited_methods(self, ll):
        class Base:
            def hello(self):
                return self.name()

            def name(self):
                return "base"

        @ll.remote
        class Derived(Base):
            def name(self):
                return "derived"

        assert ll.get(Derived.remote().hello.remote()) == "derived"

    def test_actor_classes_cannot_be_inherited_from(self, counter_class):
        with pytest.raises(TypeError, match="Counter"):

            class Derived(counter_class):
                pass

    def test_num_returns_of_methods(self, ll):
        @ll.remote
        class Pairs:
            @ll.method(num_returns=2)
            def two(self):
                return 1, 2

            @ll.method(num_returns=0)
            def none(self):
                pass

        pairs = Pairs.remote()
        assert ll.get(pairs.two.remote()) == [1, 2]
        assert pairs.none.remote() is None
        assert ll.get(pairs.two.options(num_returns=1).remote()) == (1, 2)

    def test_built_in_methods(self, ll, counter_class):
        counter = counter_class.remote(3)
        assert ll.get(counter.__ray_ready__.remote())
        assert ll.get(counter.__ray_call__.remote(lambda self, k: self.n * k, 2)) == 6


class TestHandles:
    def test_handles_can_be_passed_on(self, ll, counter_class):
        @ll.remote
        def use(counter, box):
            return ll.get([counter.add.remote(), box["c"].add.remote()])

        counter = counter_class.remote()
        assert ll.get(use.remote(counter, {"c": counter})) == [1, 2]
        assert ll.get(counter.add.remote()) == 3

    def test_handles_come_out_of_tasks(self, ll, counter_class):
        @ll.remote
        def make():
            return counter_class.remote(5)

        assert ll.get(ll.get(make.remote()).add.remote()) == 6

    def test_actors_make_actors(self, ll, counter_class):
        @ll.remote
        class Parent:
            def __init__(self):
                self.child = counter_class.remote()

            def get(self):
                return self.child

            def add(self):
                return ll.get(self.child.add.remote())

        parent = Parent.remote()
        assert ll.get(parent.add.remote()) == 1
        assert ll.get(ll.get(parent.get.remote()).add.remote()) == 2

    def test_handles_compare_by_actor(self, ll, counter_class):
        counter = counter_class.remote()
        copy = ll.get(ll.put([counter]))[0]
        assert copy == counter
        assert hash(copy) == hash(counter)
        assert counter != counter_class.remote()
        assert repr(copy) == repr(counter)
        assert "Counter" in repr(counter)

    def test_an_actor_ends_after_its_calls_when_no_handle_is_left(self, ll, counter_class):
        refs = [counter_class.remote(i).add.remote() for i in range(3)]
        assert ll.get(refs) == [1, 2, 3]

    def test_an_actor_knows_itself(self, ll):
        @ll.remote
        class Self:
            def __init__(self):
                self.n = 7

            def me(self):
                return ll.get_runtime_context().current_actor

            def value(self):
                return self.n

        actor = Self.remote()
        assert ll.get(ll.get(actor.me.remote()).value.remote()) == 7


class TestNames:
    def test_get_actor(self, ll, counter_class):
        counter = counter_class.options(name="named").remote()
        assert ll.get(ll.get_actor("named").add.remote()) == 1
        assert ll.get(counter.add.remote()) == 2
        assert "named" in ll.util.list_named_actors() if hasattr(ll.util, "list_named_actors") else True

    def test_names_are_unique_in_their_namespace(self, ll, counter_class):
        first = counter_class.options(name="unique").remote()
        with pytest.raises(ValueError, match="unique"):
            counter_class.options(name="unique").remote()
        other = counter_class.options(name="unique", namespace="elsewhere").remote(5)
        assert ll.get_actor("unique") == first
        assert ll.get_actor("unique", namespace="elsewhere") == other

    def test_get_if_exists(self, ll, counter_class):
        options = {"name": "shared", "get_if_exists": True}
        first = counter_class.options(**options).remote()
        assert ll.get(first.add.remote()) == 1
        second = counter_class.options(**options).remote()
        assert second == first
        assert ll.get(second.add.remote()) == 2
        with pytest.raises(ValueError, match="name"):
            counter_class.options(get_if_exists=True).remote()

    def test_who_is_not_there(self, ll):
        with pytest.raises(ValueError, match="nobody"):
            ll.get_actor("nobody")
        with pytest.raises(ValueError):
            ll.get_actor("")

    def test_a_name_is_free_when_its_actor_was_killed(self, ll, counter_class, eventually):
        ll.kill(counter_class.options(name="phoenix").remote())

        def again():
            try:
                return counter_class.options(name="phoenix").remote(1)
            except ValueError:
                return None

        assert ll.get(eventually(again).add.remote()) == 2

    def test_detached_actors_need_no_handle(self, ll, counter_class):
        counter_class.options(name="detached", lifetime="detached").remote()
        assert ll.get(ll.get_actor("detached").add.remote()) == 1
        assert ll.get(ll.get_actor("detached").add.remote()) == 2
        ll.kill(ll.get_actor("detached"))

    def test_bad_names(self, counter_class):
        for options in ({"name": ""}, {"name": "x", "namespace": ""}):
            with pytest.raises(ValueError):
                counter_class.options(**options).remote()
        with pytest.raises(TypeError):
            counter_class.options(name=1)
