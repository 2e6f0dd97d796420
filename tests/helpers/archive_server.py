"""A server of files like those of the archives of TESS, which fails as servers do."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np
from astropy.io import fits

__all__ = ["Archive", "frame_name", "serving", "spoil"]

SPK = "TESS_EPH_DEF_2018106_21.bsp"


@dataclass
class Archive:
    """What the server has, and how it behaves.

    Attributes
    ----------
    files : dict
        From the path (with the query) to the content.
    faults : dict
        From the path to what goes wrong at the next requests, one after the other: an HTTP status, ``cut``
        (the answer ends in its middle), ``stall`` (it stops coming), ``page`` (HTML with status 200), or a
        whole answer: (status, headers, body).
    ranges : bool
        Whether it knows Range.
    tags : bool
        Whether it tells the version of a file (ETag).
    pause : float
        Seconds between the pieces of an answer.
    requests : list
        Of (path, Range), as they came.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[object]] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    pause: float = 0.0
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def asked(self, word: str) -> list[str | None]:
        """The ranges that were asked for, of paths with a word in them."""
        return [wanted for path, wanted in self.requests if word in path]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    archive: Archive

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        archive = self.archive
        wanted = self.headers.get("Range")
        archive.requests.append((path, wanted))
        faults = archive.faults.get(path, [])
        fault = faults.pop(0) if faults else None
        content = archive.files.get(path)
        if isinstance(fault, tuple):
            status, head, body = fault
            self._start(status, head)
            self.wfile.write(body)
            self.close_connection = True
            return
        if fault == "page":
            content = b"<html>out of service</html>"
        status = fault if isinstance(fault, int) else 404 if content is None else 200
        if status != 200 or content is None:
            self._head(status, b"gone", {})
            self.wfile.write(b"gone")
            return
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        head = {"ETag": tag} if archive.tags else {}
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
        if archive.ranges and match and self.headers.get("If-Range", tag) == tag:
            first = int(match[1])
            if first >= len(content):
                self._head(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            head["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
            self._head(206, content[first:], head)
            self._send(content[first:], fault)
        else:
            self._head(200, content, head)
            self._send(content, fault)

    def _head(self, status: int, content: bytes, head: dict[str, str]) -> None:
        self._start(status, {"Content-Length": str(len(content)), **head})

    def _start(self, status: int, head: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in head.items():
            self.send_header(key, value)
        self.end_headers()

    def _send(self, content: bytes, fault: object) -> None:
        part = content[: len(content) // 2] if fault in ("cut", "stall") else content
        step = max(len(part) // 8, 1) if self.archive.pause else len(part)
        with contextlib.suppress(ConnectionError):
            for first in range(0, len(part), max(step, 1)):
                self.wfile.write(part[first : first + step])
                time.sleep(self.archive.pause)
            if fault == "stall":
                self.archive.closing.wait(20)
        if fault in ("cut", "stall"):
            self.close_connection = True


@contextlib.contextmanager
def serving(archive: Archive) -> Iterator[Archive]:
    """Serve an archive at `archive.address`, in threads of this process."""
    handler = type("Handler", (_Handler,), {"archive": archive})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    # A client that has what it wants closes the connection.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    archive.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        archive.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def frame_name(number: int, camera: int = 1, ccd: int = 1, sector: int = 1) -> str:
    """The name of a frame of a sector, half an hour after the one before."""
    hours, half = divmod(number, 2)
    return f"tess2018206{hours:02d}{30 * half:02d}42-s{sector:04d}-{camera}-{ccd}-0120-s_ffic.fits"


def fits_bytes(seed: int, pixels: int = 200) -> bytes:
    """A small file with CHECKSUM, as frames have it, and without DATASUM."""
    import io

    image = np.random.default_rng(seed).normal(100.0, 1.0, (pixels, pixels)).astype("f4")
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image)])
    for hdu in hdus:
        hdu.add_checksum(when="")
    out = io.BytesIO()
    hdus.writeto(out)
    return out.getvalue()


def spoil(content: bytes) -> bytes:
    """The same with one other bit in the pixels."""
    changed = bytearray(content)
    changed[-3000] ^= 1
    return bytes(changed)


def add_frames(archive: Archive, names: list[str], sector: int = 1) -> None:
    """Put frames where MAST and the public bucket have them, and into their lists."""
    lines, manifest = [], []
    for seed, name in enumerate(names):
        content = fits_bytes(seed)
        uri = f"/api/v0.1/Download/file?uri=mast:TESS/product/{name}"
        camera, ccd = name.split("-")[2:4]
        key = f"tess/public/ffi/s{sector:04d}/2018/206/{camera}-{ccd}/{name}"
        archive.files[uri] = archive.files[f"/{key}"] = content
        lines.append(f"curl -C - -L -o {name} https://mast.stsci.edu{uri}\n")
        manifest.append(f"2018-12-04 10:28:40 {len(content):>10d} {key}\n")
    script = f"/missions/tess/download_scripts/sector/tesscurl_sector_{sector}_ffic.sh"
    archive.files[script] = ("#!/bin/sh\n" + "".join(lines)).encode()
    other = "2018-12-04 10:28:40 100 tess/public/ffi/s0099/2018/206/1-1/" + frame_name(0, sector=99) + "\n"
    archive.files["/tess/public/manifest.txt.gz"] = gzip.compress((other * 3 + "".join(manifest)).encode())
