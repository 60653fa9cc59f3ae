// An unmodified discord.js bot. Says what it sees on stdout, one JSON object per line.

import { Client, Events, GatewayIntentBits, Partials } from "discord.js";

const base = process.env.FLUX_URL;
const client = new Client({
  intents: Object.values(GatewayIntentBits).filter((bit) => typeof bit === "number"),
  partials: [Partials.Message, Partials.Reaction],
  rest: { api: `${base}/api` },
});

const say = (event, facts = {}) => console.log(JSON.stringify({ event, ...facts }));

process.on("unhandledRejection", (error) => {
  console.error(error);
  process.exit(3);
});

client.on(Events.ClientReady, () => {
  const guilds = client.guilds.cache.map((guild) => ({
    id: guild.id,
    name: guild.name,
    member_count: guild.memberCount,
    members: guild.members.cache.map((member) => member.user.username).sort(),
    channels: guild.channels.cache
      .filter((channel) => channel.isTextBased())
      .map((channel) => channel.name)
      .sort(),
  }));
  say("ready", { user: client.user.username, guilds });
});

client.on(Events.ShardResume, () => say("resumed"));

client.on(Events.MessageCreate, async (message) => {
  if (message.author.id === client.user.id) return;
  say("message", { content: message.content, author: message.author.username });
  if (message.content === "ping") {
    const answer = await message.reply("pong");
    await answer.edit("pong, edited");
    const thumb = await message.react("\u{1F44D}");
    await thumb.users.remove(client.user.id);
    await message.react("\u{1F389}");
    const doomed = await message.channel.send("soon gone");
    await doomed.delete();
    let history = [];
    let before;
    for (;;) {
      const page = await message.channel.messages.fetch({ limit: 100, before });
      history = history.concat([...page.values()]);
      if (page.size < 100) break;
      before = page.last().id;
    }
    const fetched = await message.channel.messages.fetch({ message: answer.id, force: true });
    const query = await message.guild.members.fetch({ query: "ali", limit: 5 });
    say("answered", {
      history: history.length,
      newest: history[0].content,
      fetched: fetched.content,
      query: query.map((member) => member.user.username),
    });
  }
  if (message.content === "bye") {
    await client.destroy();
    process.exit(0);
  }
});

client.on(Events.MessageUpdate, (before, after) => {
  if (after.author?.id !== client.user.id) say("edit", { before: before.content, after: after.content });
});

client.on(Events.MessageDelete, (message) => {
  if (message.author?.id !== client.user.id) say("delete", { content: message.content });
});

client.on(Events.MessageReactionAdd, (reaction, user) => {
  if (user.id !== client.user.id) say("reaction", { emoji: reaction.emoji.name, user: user.username });
});

client.on(Events.TypingStart, (typing) => {
  say("typing", { channel: typing.channel.name, user: typing.user.username });
});

client.on(Events.GuildMemberAdd, (member) => {
  say("join", { user: member.user.username, member_count: member.guild.memberCount });
});

client.on(Events.ChannelCreate, (channel) => say("channel", { name: channel.name }));

client.on(Events.Error, (error) => {
  console.error(error);
  process.exit(3);
});

await client.login(process.env.FLUX_TOKEN);
