"""Serving: a policy as an HTTP service that many clients act with at a time, and that learns from
their episodes.

`PolicyClient` needs the standard library and NumPy alone, so the rest of the package is imported
when it is first asked for.
"""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

import importlib
from typing import TYPE_CHECKING, Any

from .client import PolicyClient, PolicyServerError

if TYPE_CHECKING:
    from .app import make_app
    from .episodes import EpisodeRecorder
    from .learning import Learning, OnPolicyLearning, ReplayLearning
    from .server import run_server, serve_in_background
    from .service import LoggedAction, PolicyService
    from .wire import RequestError

__all__ = [
    "EpisodeRecorder",
    "Learning",
    "LoggedAction",
    "OnPolicyLearning",
    "PolicyClient",
    "PolicyServerError",
    "PolicyService",
    "ReplayLearning",
    "RequestError",
    "make_app",
    "run_server",
    "serve_in_background",
]

_WHERE = {
    "EpisodeRecorder": "episodes",
    "Learning": "learning",
    "LoggedAction": "service",
    "OnPolicyLearning": "learning",
    "PolicyService": "service",
    "ReplayLearning": "learning",
    "RequestError": "wire",
    "make_app": "app",
    "run_server": "server",
    "serve_in_background": "server",
}


def __getattr__(name: str) -> Any:
    """The other public names, imported when they are first asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
