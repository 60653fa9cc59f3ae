"""Drives one bot against a real Flux server and checks everything that both sides say.

Between bot and server lies a proxy, which cuts the bot's gateway connection in the middle of the
test: the library must RESUME and get what it missed, not identify again.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

import aiohttp

PATIENCE = 60
HERE = os.path.dirname(os.path.abspath(__file__))


class Failed(Exception):
    """A claim of this test is not true."""


def check(claim, truth, *facts):
    if not truth:
        raise Failed(f"{claim}: {' '.join(map(repr, facts))}")


class Server:
    """A running `flux serve` on a fresh directory."""

    def __init__(self, binary, data):
        self.binary, self.data = binary, data

    async def __aenter__(self):
        arguments = ["serve", "--data", self.data, "--listen", "127.0.0.1:0"]
        self.process = await asyncio.create_subprocess_exec(
            self.binary, *arguments, stdout=subprocess.PIPE, stderr=sys.stderr
        )
        async with asyncio.timeout(PATIENCE):
            while line := await self.process.stdout.readline():
                if found := re.search(r"ready:\s+http://([\d.]+):(\d+)", line.decode()):
                    self.port = int(found[2])
                    break
            else:
                raise Failed("the server ended before it was ready")
        self.reader = asyncio.create_task(self.swallow())
        return self

    async def swallow(self):
        while await self.process.stdout.readline():
            pass

    async def __aexit__(self, *_):
        self.reader.cancel()
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), PATIENCE)
            except asyncio.TimeoutError:
                self.process.kill()


class Proxy:
    """Passes bytes on; knows which connections are gateway connections and can cut those."""

    def __init__(self, port):
        self.target, self.gateways = port, set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        self.cut()

    async def serve(self, reader, writer):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        pair = (writer, up_writer)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self.pass_up(reader, pair), self.pass_on(up_reader, writer))
        self.gateways.discard(pair)

    async def pass_up(self, reader, pair):
        """A connection may serve requests before it becomes a gateway connection."""
        try:
            while data := await reader.read(65536):
                if b"upgrade: websocket" in data.lower():
                    self.gateways.add(pair)
                pair[1].write(data)
                await pair[1].drain()
        finally:
            pair[1].close()

    @staticmethod
    async def pass_on(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    def cut(self):
        """Resets every gateway connection on both sides."""
        count = len(self.gateways)
        for pair in list(self.gateways):
            for writer in pair:
                writer.transport.abort()
        return count


class Person:
    """A person with a plain HTTP client."""

    def __init__(self, session, base):
        self.session, self.base = session, base

    async def call(self, method, path, body=None, expect=(200, 201, 204)):
        while True:
            request = self.session.request(
                method, self.base + path, json=body, headers=getattr(self, "headers", {})
            )
            async with request as answer:
                text = await answer.text()
                if answer.status == 429:
                    await asyncio.sleep(json.loads(text)["retry_after"])
                    continue
                check(f"{method} {path} works", answer.status in expect, answer.status, text)
                return json.loads(text) if text else None

    async def register(self, name):
        account = {"username": name, "password": "correct horse battery"}
        answer = await self.call("POST", "/auth/register", account)
        self.token, self.user = answer["token"], answer["user"]
        self.headers = {"Authorization": self.token}
        return self


class Bot:
    """The process of a bot and what it said so far."""

    def __init__(self, command, base, token):
        self.command, self.said = command, []
        self.env = {**os.environ, "FLUX_URL": base, "FLUX_TOKEN": token}

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, env=self.env, stdout=subprocess.PIPE, stderr=sys.stderr, cwd=HERE
        )
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()

    async def hear(self, event, **facts):
        """Waits until the bot says this, now or earlier."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    for said in self.said:
                        if said["event"] == event and facts.items() <= said.items():
                            return said
                    line = await self.process.stdout.readline()
                    check(f"the bot lives to say {event} {facts}", line, self.said)
                    self.said.append(json.loads(line))
        except asyncio.TimeoutError:
            raise Failed(f"the bot does not say {event} {facts}; it said {self.said}") from None

    def count(self, event):
        return sum(said["event"] == event for said in self.said)


async def make_bot(binary, server, alice, guild):
    """`flux bot create` against the running server."""
    arguments = ["bot", "create", "robot", "--guild", guild]
    where = ["--at", f"http://127.0.0.1:{server.port}", "--token", alice.token]
    process = await asyncio.create_subprocess_exec(
        binary, *arguments, *where, stdout=subprocess.PIPE, stderr=sys.stderr
    )
    out, _ = await process.communicate()
    check("flux bot create works", process.returncode == 0, process.returncode)
    token = re.search(r"[\w-]+\.[\w-]+\.[\w-]+", out.decode())
    check("flux bot create prints a token", token, out)
    return token[0]


async def scenario(binary, command, server, proxy, session):
    alice = await Person(session, f"http://127.0.0.1:{server.port}/api/v10").register("alice")
    guild = (await alice.call("POST", "/guilds", {"name": "Bots"}))["id"]
    room = {"name": "workshop", "type": 0}
    channel = (await alice.call("POST", f"/guilds/{guild}/channels", room))["id"]
    messages = f"/channels/{channel}/messages"
    token = await make_bot(binary, server, alice, guild)

    async with Bot(command, f"http://127.0.0.1:{proxy.port}", token) as bot:
        ready = await bot.hear("ready", user="robot")
        [seen] = ready["guilds"]
        check("the bot sees its guild", (seen["id"], seen["name"]) == (guild, "Bots"), seen)
        check("the bot sees the members", seen["members"] == ["alice", "robot"], seen)
        check("the bot sees the channel", "workshop" in seen["channels"], seen)

        await alice.call("POST", f"/channels/{channel}/typing")
        await bot.hear("typing", channel="workshop", user="alice")

        for number in range(3):
            await alice.call("POST", messages, {"content": f"line {number}"})
        ping = await alice.call("POST", messages, {"content": "ping"})
        answered = await bot.hear("answered")
        check("the bot pages the history", answered["history"] >= 5, answered)
        check("the newest message comes first", answered["newest"] == "pong, edited", answered)
        check("the bot reads its edit", answered["fetched"] == "pong, edited", answered)
        check("the bot finds a member by name", answered["query"] == ["alice"], answered)

        page = await alice.call("GET", f"{messages}?limit=100")
        contents = [message["content"] for message in page]
        expected = ["pong, edited", "ping", "line 2", "line 1", "line 0"]
        check("what the bot did is stored", contents == expected, contents)
        check("the answer is a reply", page[0]["referenced_message"]["id"] == ping["id"], page[0])
        emoji = [(one["emoji"]["name"], one["count"]) for one in page[1]["reactions"]]
        check("one of two reactions is left", emoji == [("\N{PARTY POPPER}", 1)], emoji)

        await alice.call("PATCH", f"{messages}/{ping['id']}", {"content": "ping, edited"})
        await bot.hear("edit", after="ping, edited")
        heart = "%E2%9D%A4%EF%B8%8F"
        await alice.call("PUT", f"{messages}/{ping['id']}/reactions/{heart}/@me")
        await bot.hear("reaction", user="alice")
        await alice.call("DELETE", f"{messages}/{ping['id']}")
        await bot.hear("delete")

        check("the bot has one gateway connection", proxy.cut() == 1)
        await alice.call("POST", messages, {"content": "while you were away"})
        await bot.hear("message", content="while you were away")
        await bot.hear("resumed")
        await alice.call("POST", messages, {"content": "welcome back"})
        await bot.hear("message", content="welcome back")
        away = [said for said in bot.said if said.get("content") == "while you were away"]
        check("a missed message comes once", len(away) == 1, away)
        check("the bot did not identify again", bot.count("ready") == 1, bot.said)

        room = {"name": "annex", "type": 0}
        await alice.call("POST", f"/guilds/{guild}/channels", room)
        await bot.hear("channel", name="annex")
        invite = await alice.call("POST", f"/channels/{channel}/invites", {})
        bob = await Person(session, alice.base).register("bob")
        await bob.call("POST", f"/invites/{invite['code']}")
        joined = await bot.hear("join", user="bob")
        check("the bot counts the members", joined["member_count"] == 3, joined)

        await bob.call("POST", messages, {"content": "bye"})
        code = await asyncio.wait_for(bot.process.wait(), PATIENCE)
        check("the bot ends in peace", code == 0, code)


async def main():
    binary, *command = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="flux-bots-") as data:
        async with (
            Server(binary, data) as server,
            Proxy(server.port) as proxy,
            aiohttp.ClientSession() as session,
        ):
            await scenario(binary, command, server, proxy, session)


try:
    asyncio.run(main())
except Failed as failure:
    print(f"FAILED: {failure}", file=sys.stderr)
    sys.exit(1)
