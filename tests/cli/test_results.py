from jax_agents import cli


def test_list_has_algorithms_settings_environments_examples_and_gates(capsys, fails):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (
        "DQN",
        "PPO",
        "A3C: runs A2C",
        "CartPole-v1",
        "cartpole-ppo: PPO on CartPole-v1",
        "ppo-cartpole-cleanrl",
    ):
        assert name in out
    assert cli.main(["list", "SAC"]) == 0
    assert "learning_rate = 0.001" in capsys.readouterr().out
    assert "no algorithm 'SACC'; did you mean 'SAC'" in fails("list", "SACC")
