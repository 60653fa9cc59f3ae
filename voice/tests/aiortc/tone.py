"""A tone and a picture go through a node and come out as that tone and that picture, with aiortc on both ends.

aiortc shares nothing with the node: its ICE is aioice, its DTLS OpenSSL, its SRTP libsrtp, its codecs FFmpeg's.

    python tone.py NODE [gcm | sha1]

NODE is the program of voice/examples/stdio.rs. With sha1 the client offers no AES-GCM.
"""

import asyncio
import fractions
import json
import sys

import aioice.ice
import numpy
from aiortc import RTCPeerConnection, RTCSessionDescription, rtcdtlstransport
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack
from av import AudioFrame, VideoFrame

# aioice gathers no loopback address by itself.
aioice.ice.get_host_addresses = lambda use_ipv4=True, use_ipv6=True: ["127.0.0.1"]

RATE = 48_000
TONE_HZ = 700
COLORS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)]


class Tone(AudioStreamTrack):
    """A sine of TONE_HZ, 20 ms a frame."""

    position = 0

    async def recv(self):
        await asyncio.sleep(0.02)
        time = (numpy.arange(960) + self.position) / RATE
        samples = (0.5 * 32767 * numpy.sin(2 * numpy.pi * TONE_HZ * time)).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.position, fractions.Fraction(1, RATE)
        self.position += 960
        return frame


class Bars(VideoStreamTrack):
    """Four vertical bars of COLORS."""

    async def recv(self):
        pts, base = await self.next_timestamp()
        picture = numpy.zeros((240, 320, 3), numpy.uint8)
        for i, color in enumerate(COLORS):
            picture[:, 80 * i : 80 * (i + 1)] = color
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = pts, base
        return frame


class Node:
    """The node's program, a line for a line."""

    async def start(self, program):
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(program, stdin=pipe, stdout=pipe, limit=1 << 20)

    async def ask(self, **request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        await self.process.stdin.drain()
        answer = json.loads(await self.process.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    async def connect(self, connection, role, participant):
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp
        answer = await self.ask(role=role, participant=participant, offer=offer)
        await connection.setRemoteDescription(RTCSessionDescription(answer["answer"], "answer"))


async def hear(track):
    """The loudest frequency of a second of sound, after half a second to settle."""
    samples = []
    while sum(map(len, samples)) < RATE * 3 // 2:
        frame = await track.recv()
        samples.append(frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0])
    second = numpy.concatenate(samples)[RATE // 2 : RATE * 3 // 2].astype(float)
    spectrum = numpy.abs(numpy.fft.rfft(second * numpy.hanning(len(second))))
    share = spectrum[TONE_HZ - 5 : TONE_HZ + 6].sum() / spectrum.sum()
    return int(spectrum.argmax()), share


async def see(track):
    """The colors of the bars' middles in the tenth picture."""
    for _ in range(10):
        frame = await track.recv()
    picture = frame.to_ndarray(format="rgb24")
    height, width, _ = picture.shape
    return [picture[height // 2, width * (2 * i + 1) // 8].astype(int) for i in range(4)]


async def main(program, profile):
    if profile == "sha1":
        kept = [p for p in rtcdtlstransport.SRTP_PROFILES if "AES128_CM" in p.openssl_profile.decode()]
        rtcdtlstransport.SRTP_PROFILES[:] = kept
    node = Node()
    await node.start(program)
    publisher = RTCPeerConnection()
    publisher.addTrack(Tone())
    publisher.addTrack(Bars())
    await node.connect(publisher, "publish", 1)
    subscribers = []
    for participant in (2, 3):
        subscriber = RTCPeerConnection()
        receivers = [subscriber.addTransceiver(kind, direction="recvonly").receiver for kind in ("audio", "video")]
        await node.connect(subscriber, "subscribe", participant)
        subscribers.append((subscriber, [receiver.track for receiver in receivers]))
    for _, (audio, video) in subscribers:
        (frequency, share), colors = await asyncio.gather(hear(audio), see(video))
        print(f"heard {frequency} Hz ({share:.0%} of all sound), saw {[c.tolist() for c in colors]}")
        assert abs(frequency - TONE_HZ) <= 1 and share > 0.8, "the tone is not the one that was sent"
        for seen, sent in zip(colors, COLORS):
            assert numpy.abs(seen - sent).max() < 40, f"saw {seen}, sent {sent}"
    stats = (await node.ask(stats=True))["stats"]
    expected = "SRTP_AEAD_AES_128_GCM" if profile == "gcm" else "SRTP_AES128_CM_HMAC_SHA1_80"
    assert [peer["profile"] for peer in stats] == [expected] * 3, stats
    for connection in [publisher] + [subscriber for subscriber, _ in subscribers]:
        await connection.close()
    node.process.stdin.close()
    assert await asyncio.wait_for(node.process.wait(), 10) == 0
    print(f"passed over {expected}")


asyncio.run(asyncio.wait_for(main(sys.argv[1], sys.argv[2]), 60))
