"""TF-Agents for JAX: agents, networks, policies, replay, drivers and environments to compose."""

__version__ = "0.1.0"
