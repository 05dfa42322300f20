"""Classic control in JAX: each environment is, step by step, the same as gymnasium's."""

from .acrobot import Acrobot
from .cartpole import CartPole
from .mountain_car import MountainCar
from .mountain_car_continuous import MountainCarContinuous
from .pendulum import Pendulum

__all__ = ["Acrobot", "CartPole", "MountainCar", "MountainCarContinuous", "Pendulum"]
