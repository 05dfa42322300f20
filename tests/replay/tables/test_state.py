"""The states of tables, and how messages show them."""

from jax_agents.replay.tables.state import TableState, describe_states


def test_items_are_ready_once_the_server_has_enough():
    state = TableState("a:1", 3, 10, 4, 3, 0)
    assert state.ready == 0 and state._replace(items=4).ready == 4
    assert state._replace(items=1, min_size=0).ready == 1


def test_the_states_of_several_servers_in_words():
    states = [TableState("a:1", 3, 10, 4, 5, 6), TableState("b:2", 1, 20, 1, 2, 1)]
    assert describe_states(states, 2) == (
        "a:1, b:2 has 4 items of the 4 needed, at most 30; inserts: 7, samples: 7"
    )
    assert "of the 9 needed" in describe_states(states, 9)
