"""A bucket with one recording in it, a job folder, and a hurried SupabaseStorage between them."""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support import project_keys
from tests.support.fake_storage import FakeStorage
from worker.adapters.download_source import Pace
from worker.adapters.storage_supabase import SupabaseStorage

NAME = "lab/0001/audio.wav"
RECORDING = bytes(range(251)) * 20_000  # five blocks; 251 is prime, so that shifted bytes are other bytes
OTHER = bytes(reversed(RECORDING))
HURRIED = Pace(stall_s=0.3, first_byte_s=5.0, no_progress_s=1.0, first_wait_s=0.001, longest_wait_s=0.02)
"""No wait of the real one, and one second for what cannot succeed."""


@dataclass
class Downloads:
    fake: FakeStorage
    job: Path
    pace: Pace = HURRIED
    shares: list[float] = field(default_factory=list)

    @property
    def target(self) -> Path:
        return self.job / "source"

    @property
    def left(self) -> list[str]:
        """What lies in the job folder."""
        return sorted(path.name for path in self.job.iterdir())

    @property
    def ranges(self) -> list[str | None]:
        """What was asked for, request by request."""
        return [request.range for request in self.fake.seen("download")]

    def put(self, content: bytes = RECORDING, *, sha256: str | None = None) -> None:
        """Keep it in the bucket, as an upload with its checksum does."""
        metadata = {"sha256": sha256 or hashlib.sha256(content).hexdigest()}
        self.fake.put_object(NAME, content, metadata=metadata)

    def storage(self, key: str | None = None, *, worker_token: str | None = None, **pace: Any) -> SupabaseStorage:
        return SupabaseStorage(
            self.fake.url,
            key or project_keys.token("service_role"),
            worker_token=worker_token,
            pace=replace(self.pace, **pace),
        )

    async def fetch(self, *, max_bytes: int = 10**9, **pace: Any) -> None:
        await self.storage(**pace).fetch(NAME, self.target, max_bytes=max_bytes, report=self.shares.append)

    async def failure(self, *, max_bytes: int = 10**9, **pace: Any) -> Exception:
        """What the fetch ends with. Its text, its details and all that it stands on must hold no secret."""
        try:
            await self.fetch(max_bytes=max_bytes, **pace)
        except Exception as error:
            self.assert_discreet(error)
            return error
        raise AssertionError("the download succeeded")

    def assert_discreet(self, error: BaseException) -> None:
        """A signed address is a credential; so is the key. Neither may get into a log by way of an exception."""
        texts = ["".join(traceback.format_exception(error)), repr(getattr(error, "details", ""))]
        seen: set[int] = set()
        behind: list[BaseException | None] = [error]
        while behind:
            found = behind.pop()
            if found is not None and id(found) not in seen:
                seen.add(id(found))
                texts.append(f"{found!r} {found}")
                behind += [found.__cause__, found.__context__]
        for text in texts:
            assert "token=" not in text
            assert "eyJ" not in text  # how each JWT begins
            assert self.fake.url not in text
            assert str(self.job) not in text
