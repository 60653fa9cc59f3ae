"""An unmodified discord.py bot. Says what it sees on stdout, one JSON object per line."""

import json
import os
import sys

import discord
import yarl

BASE = os.environ["FLUX_URL"]
discord.http.Route.BASE = f"{BASE}/api/v10"
discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(BASE.replace("http", "ws", 1))

client = discord.Client(intents=discord.Intents.all())


def say(event, **facts):
    print(json.dumps({"event": event, **facts}), flush=True)


@client.event
async def on_ready():
    guilds = [
        {
            "id": str(guild.id),
            "name": guild.name,
            "member_count": guild.member_count,
            "members": sorted(member.name for member in guild.members),
            "channels": sorted(channel.name for channel in guild.text_channels),
        }
        for guild in client.guilds
    ]
    say("ready", user=client.user.name, guilds=guilds)


@client.event
async def on_resumed():
    say("resumed")


@client.event
async def on_message(message):
    if message.author == client.user:
        return
    say("message", content=message.content, author=message.author.name)
    if message.content == "ping":
        answer = await message.reply("pong")
        await answer.edit(content="pong, edited")
        await message.add_reaction("\N{THUMBS UP SIGN}")
        await message.remove_reaction("\N{THUMBS UP SIGN}", client.user)
        await message.add_reaction("\N{PARTY POPPER}")
        doomed = await message.channel.send("soon gone")
        await doomed.delete()
        history = [entry.content async for entry in message.channel.history(limit=250)]
        fetched = await message.channel.fetch_message(answer.id)
        query = await message.guild.query_members("ali")
        say(
            "answered",
            history=len(history),
            newest=history[0],
            fetched=fetched.content,
            query=[member.name for member in query],
        )
    if message.content == "bye":
        await client.close()


@client.event
async def on_message_edit(before, after):
    if after.author != client.user:
        say("edit", before=before.content, after=after.content)


@client.event
async def on_message_delete(message):
    if message.author != client.user:
        say("delete", content=message.content)


@client.event
async def on_reaction_add(reaction, user):
    if user != client.user:
        say("reaction", emoji=str(reaction.emoji), user=user.name)


@client.event
async def on_typing(channel, user, when):
    say("typing", channel=channel.name, user=user.name)


@client.event
async def on_member_join(member):
    say("join", user=member.name, member_count=member.guild.member_count)


@client.event
async def on_guild_channel_create(channel):
    say("channel", name=channel.name)


@client.event
async def on_error(event, *args):
    import traceback

    traceback.print_exc()
    sys.stderr.flush()
    os._exit(3)


client.run(os.environ["FLUX_TOKEN"], log_level=20)
