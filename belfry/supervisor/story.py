"""What a redeploy tells while it happens: the steps for the towers, and lines for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from bus.events import Rollout


@dataclass(slots=True)
class Story:
    """One redeploy, server after server. `now` is Unix seconds."""

    id: str
    fleet: str
    servers: int
    steps: list[Rollout] = field(default_factory=list)
    moved: int = 0
    drained: int = 0
    longest_stall_ms: float = 0.0

    def began(self, version: str, now: float) -> Rollout:
        """It begins; `version` is what runs now."""
        return self._add(Rollout(self.id, self.fleet, "began", servers=self.servers, version_from=version, made_at=now))

    def starting(self, server: str, index: int, version: str, now: float) -> Rollout:
        """A successor for this server was started."""
        return self._step("starting", server, index, now, version_from=version)

    def handing(self, server: str, index: int, version_from: str, version_to: str, now: float) -> Rollout:
        """The successor is prepared; the living sockets go over."""
        return self._step("handing", server, index, now, version_from=version_from, version_to=version_to)

    def handed(
        self, server: str, index: int, version_to: str, moved: int, drained: int, stall_ms: float, now: float
    ) -> Rollout:
        """The successor serves."""
        self.moved += moved
        self.drained += drained
        self.longest_stall_ms = max(self.longest_stall_ms, stall_ms)
        return self._step(
            "handed", server, index, now, version_to=version_to, moved=moved, drained=drained, stall_ms=stall_ms
        )

    def failed(self, server: str, index: int, why: str, now: float) -> Rollout:
        """This server goes on as it was; the redeploy ends here."""
        self._step("failed", server, index, now, why=why)
        return self._add(
            Rollout(
                self.id, self.fleet, "failed", servers=self.servers, moved=self.moved, drained=self.drained,
                stall_ms=self.longest_stall_ms, why=f"{server}: {why}", made_at=now,
            )
        )  # fmt: skip

    def done(self, version: str, now: float) -> Rollout:
        """All servers run what was on the disk."""
        return self._add(
            Rollout(
                self.id, self.fleet, "done", servers=self.servers, version_to=version, moved=self.moved,
                drained=self.drained, stall_ms=self.longest_stall_ms, made_at=now,
            )
        )  # fmt: skip

    def _step(self, step: str, server: str, index: int, now: float, **more: object) -> Rollout:
        return self._add(
            Rollout(self.id, self.fleet, step, server, index, self.servers, made_at=now, **more)  # type: ignore[arg-type]
        )

    def _add(self, step: Rollout) -> Rollout:
        self.steps.append(step)
        return step

    def verdict(self) -> str:
        """The end in one line."""
        told = f", {self.drained:,} told to reconnect" if self.drained else ""
        servers = "1 server" if self.servers == 1 else f"{self.servers} servers"
        return (
            f"redeployed {servers}: {self.moved:,} living sockets handed over{told}, "
            f"longest stall {self.longest_stall_ms:.0f} ms"
        )
