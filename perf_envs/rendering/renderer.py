"""What all renderers share: the choice of mode, the window, and the life cycle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from perf_envs.env import RENDER_MODES
from perf_envs.rendering.canvas import Canvas, Pixels, import_pygame
from perf_envs.validation import check_choice

if TYPE_CHECKING:
    from perf_envs.env import WorldEnv

Env = TypeVar("Env", bound="WorldEnv")


class Renderer(ABC, Generic[Env]):
    """Draws an environment, which it reads and never changes.

    Subclasses say what there is to remember (:meth:`observe`), how to put it in words (:meth:`describe`) and how to
    draw it (:meth:`draw`).

    Args:
        env: the environment.
    """

    title: str

    def __init__(self, env: Env) -> None:
        self.env = env
        self._clock: Any = None

    @abstractmethod
    def observe(self) -> None:
        """Take down what later pictures need of the present moment."""

    @abstractmethod
    def describe(self) -> str:
        """Return the world as text."""

    @abstractmethod
    def draw(self) -> Canvas:
        """Return the world as a picture."""

    @property
    def last(self) -> dict[str, Any]:
        """The last step of this episode: state, action, reward and info; empty if there was none."""
        return getattr(self.env, "_last", {})

    def render(self, mode: str) -> str | Pixels | None:
        """Draw the world as it is.

        Args:
            mode: ``"ansi"`` returns text, ``"rgb_array"`` an array ``[height, width, 3]``, ``"human"`` shows a window.

        Raises:
            ValueError: unknown mode.
            DependencyNotInstalled: pygame is missing and the mode needs it.
        """
        check_choice("mode", mode, RENDER_MODES)
        self.observe()
        if mode == "ansi":
            return self.describe()
        picture = self.draw().finish()
        if mode == "human":
            self._show(picture)
            return None
        pixels = np.frombuffer(import_pygame().image.tobytes(picture, "RGB"), dtype=np.uint8)
        return pixels.reshape(picture.get_height(), picture.get_width(), 3).copy()

    def close(self) -> None:
        """Close the window, if there is one; may be called twice."""
        if self._clock is not None:
            import_pygame().display.quit()
            self._clock = None

    def _show(self, picture: Any) -> None:
        pygame = import_pygame()
        if self._clock is None:
            self._clock = pygame.time.Clock()
        pygame.display.init()
        # pygame has one window per process, which another environment may have closed or resized since.
        window = pygame.display.get_surface()
        if window is None or window.get_size() != picture.get_size():
            window = pygame.display.set_mode(picture.get_size())
            pygame.display.set_caption(self.title)
        window.blit(picture, (0, 0))
        pygame.event.pump()
        pygame.display.flip()
        self._clock.tick(self.env.metadata["render_fps"])
