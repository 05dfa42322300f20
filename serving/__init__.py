"""Serving: a policy as an HTTP service for many clients, which can learn from their episodes.

`PolicyClient` needs the standard library and NumPy alone, so the rest of the package is imported on
first use.
"""

if "." not in __name__:
    raise ImportError(f"import jax_agents.{__name__} instead of {__name__}")

import importlib
from typing import TYPE_CHECKING, Any

from .client import PolicyClient, PolicyServerError

if TYPE_CHECKING:
    from .app import make_app
    from .episodes import EpisodeRecorder, LoggedAction
    from .learning import Learning, OnPolicyLearning, ReplayLearning
    from .local_client import LocalPolicyClient
    from .messages import MessageError, RequestError
    from .server import run_server, serve_in_background
    from .service import PolicyService

__all__ = [
    "EpisodeRecorder",
    "Learning",
    "LocalPolicyClient",
    "LoggedAction",
    "MessageError",
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

_MODULES = {
    "EpisodeRecorder": "episodes",
    "Learning": "learning",
    "LocalPolicyClient": "local_client",
    "LoggedAction": "episodes",
    "MessageError": "messages",
    "OnPolicyLearning": "learning",
    "PolicyService": "service",
    "ReplayLearning": "learning",
    "RequestError": "messages",
    "make_app": "app",
    "run_server": "server",
    "serve_in_background": "server",
}


def __getattr__(name: str) -> Any:
    """Imports another public name on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
