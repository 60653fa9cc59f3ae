// A guild with people and a conversation in it, for the tests that need something to look at.
import type { Channel, User } from "../../src/api/types";
import { MockServer } from "../mock/server";

export interface Scene {
  readonly server: MockServer;
  readonly url: string;
  readonly ada: User;
  readonly general: Channel;
  readonly engine: Channel;
  readonly people: Record<string, User>;
}

const RUST = [
  "The torn tail was the last one. What recovery does now:",
  "```rust",
  "/// Cuts the log after the last record whose checksum holds.",
  "fn cut_torn_tail(segment: &mut Segment) -> Result<u64> {",
  "    let mut kept = 0;",
  "    while let Some(record) = segment.next_record(kept)? {",
  '        if !record.checksum_holds() { break; } // "torn"',
  "        kept = record.end;",
  "    }",
  "    segment.truncate(kept)?;",
  "    Ok(kept)",
  "}",
  "```",
].join("\n");

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

export async function startScene(dist: string, nowMs = Date.now()): Promise<Scene> {
  const server = new MockServer(dist);
  const ada = server.addUser("ada");
  const people: Record<string, User> = { ada };
  for (const name of ["grace", "linus", "margaret", "dennis", "barbara", "ken", "radia", "edsger", "katherine", "john.b", "frances", "alan"]) people[name] = server.addUser(name);
  const guild = server.addGuild(ada, "Storage Engine Club");
  Object.values(people).slice(1).forEach((user, index) => server.addMember(guild, user, index < 5 ? "online" : index === 5 ? "idle" : index === 6 ? "dnd" : null));
  const bot = server.addUser("build-bot");
  bot.bot = true;
  server.addMember(guild, bot, "online");
  const general = guild.channels[0]!;
  general.topic = "Everything about the log, the tree and the people who like both";
  const engine = server.addChannel(guild, "engine", "Memtables, SSTables, compaction");
  server.addChannel(guild, "reading-group", "This month: the design of a log");
  const help = server.addChannel(guild, "help", null);
  server.addChannel(guild, "off-topic", null);
  server.addGuild(ada, "Chess at Lunch");
  const other = server.addGuild(people["radia"]!, "Network Nights");
  server.addMember(other, ada);
  const start = nowMs - 26 * HOUR_MS;
  const topics = ["the write path", "group commit", "what an fsync costs on this disk", "block size", "filters", "the manifest", "tombstones"];
  const authors = ["grace", "linus", "margaret", "dennis"];
  for (let index = 0; index < 600; index++) {
    const author = people[authors[Math.floor(index / 3) % authors.length]!]!;
    server.addMessage(general, author, `Note ${index + 1} on ${topics[index % topics.length]}: the numbers of the last run are in, and they hold.`, start - (600 - index) * 5 * MINUTE_MS);
  }
  busyDay(server, general, people, bot, nowMs);
  server.addMessage(engine, people["grace"]!, "Compaction of window 160 is done.", nowMs - 3 * HOUR_MS);
  server.addMessage(help, people["linus"]!, `<@${ada.id}> could you look at the failing test when you have a minute?`, nowMs - 2 * HOUR_MS);
  for (const channel of guild.channels) if (channel.last_message_id && channel !== engine && channel !== help) server.markRead(ada, channel, channel.last_message_id);
  const url = await server.listen();
  return { server, url, ada, general, engine, people };
}

function busyDay(server: MockServer, general: Channel, people: Record<string, User>, bot: User, nowMs: number): void {
  const say = (name: string, content: string, minutesAgo: number, more = {}) => server.addMessage(general, people[name]!, content, nowMs - minutesAgo * MINUTE_MS, more);
  say("grace", "Good morning! The overnight run of the **crash test** finished: *all 4 096 cut points* recovered.", 95);
  say("grace", "Two of them took longer than I like, see https://example.org/runs/4096", 94);
  const question = say("linus", "How long is _longer_? I had `read_tail` under suspicion:\n> the hot tail is read twice on open\nbut I could not prove it.", 90);
  server.addMessage(general, bot, "Build **#1287** passed in 4 min 12 s.", nowMs - 82 * MINUTE_MS, {
    embeds: [{ title: "storage: cut the torn tail once", url: "https://example.org/builds/1287", description: "218 tests, 0 failures", color: 0x3fb67a, fields: [{ name: "Commit", value: "`9f31c07`", inline: true }, { name: "Branch", value: "torn-tail", inline: true }] }],
  });
  say("margaret", RUST, 71, { reactions: [{ emoji: { id: null, name: "🚀" }, count: 3, me: true }, { emoji: { id: null, name: "👀" }, count: 1, me: false }] });
  say("dennis", "Nice and short. Before we merge:\n1. run it on the *faulty* file system\n2. measure the open with 10 000 records\n3. ~~rename everything~~ write the format page", 64);
  say("ada", "Twice, and I can prove it now. The first read only wants the length; I will keep it.", 41, { type: 19, message_reference: { message_id: question.id }, referenced_message: question });
  say("ada", "Open is down from 310 ms to **140 ms** here.", 40, { reactions: [{ emoji: { id: null, name: "🎉" }, count: 5, me: false }, { emoji: { id: null, name: "❤️" }, count: 2, me: true }] });
  say("barbara", `That is lovely, <@${people["ada"]!.id}>! The picture in the report should get it, too.`, 22);
  say("grace", "I owe you a coffee. Or ||a whole cake||, if the second number holds.", 6);
}
