// Two people keep chatting while the nodes of the database below them are killed, one after the other; and what the page
// says when too few of them are left.
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, person, shoot } from "./browser";
import { Nodes } from "./nodes";
import { FluxServer } from "./server";

/** How long a message may take while a new leader is found, on a machine that is busy with other tests. */
const THROUGH_A_KILL_MS = 45_000;
/** What each of the two says while a node is dead, and after it is back. */
const SAID_MEANWHILE = 4;
/** A person takes a breath between two messages. */
const BREATH_MS = 150;

let nodes: Nodes;
let server: FluxServer;
let browser: Browser;
let ada: Awaited<ReturnType<typeof person>>;
let grace: Awaited<ReturnType<typeof person>>;

beforeAll(async () => {
  nodes = await Nodes.start();
  server = await FluxServer.start(nodes.endpoints);
  browser = await launch();
  [ada, grace] = [await person(browser), await person(browser, { scheme: "light" })];
}, 180_000);

afterAll(async () => {
  await browser?.close();
  await server?.remove();
  await nodes?.remove();
}, 60_000);

afterEach(async (context) => {
  if (context.task.result?.state !== "fail") return;
  await shoot(ada.page, "failed-kills-ada");
  await shoot(grace.page, "failed-kills-grace");
  console.error(server.log.slice(-4_000), nodes.log.slice(-8_000));
});

async function register(page: Page, name: string, button: string): Promise<void> {
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill("correct horse battery");
  await page.getByRole("button", { name: button, exact: true }).click();
}

/** Writes, and waits until the server has it; a message that failed is sent again with its button, as a person would. */
async function say(page: Page, text: string): Promise<number> {
  const begun = Date.now();
  await page.getByRole("textbox", { name: /^Message / }).fill(text);
  await page.keyboard.press("Enter");
  const taken = page.locator("li.message:not(.message-sending):not(.message-failed)", { hasText: text });
  const failed = page.locator("li.message-failed", { hasText: text }).getByRole("button", { name: "Retry" });
  while ((await taken.count()) === 0) {
    if ((await failed.count()) > 0) await failed.click();
    if (Date.now() - begun > THROUGH_A_KILL_MS) throw new Error(`"${text}" was not taken in ${THROUGH_A_KILL_MS} ms`);
    await page.waitForTimeout(50);
  }
  return Date.now() - begun;
}

/** One of the two, who talks until told to stop. */
class Talker {
  readonly said: string[] = [];
  slowest = 0;
  private isDone = false;
  private readonly talking: Promise<void>;

  constructor(
    private readonly page: Page,
    private readonly name: string,
  ) {
    this.talking = this.talk();
    // Whoever waits for a message or for the end hears of the failure.
    this.talking.catch(() => undefined);
  }

  private async talk(): Promise<void> {
    while (!this.isDone) {
      const text = `${this.name} says ${String(this.said.length).padStart(4, "0")}`;
      this.slowest = Math.max(this.slowest, await say(this.page, text));
      this.said.push(text);
      await this.page.waitForTimeout(BREATH_MS);
    }
  }

  /** Waits until so many more messages were taken. */
  async more(count: number): Promise<void> {
    const until = this.said.length + count;
    while (this.said.length < until) await Promise.race([this.talking, new Promise((done) => setTimeout(done, 50))]);
  }

  async end(): Promise<void> {
    this.isDone = true;
    await this.talking;
  }
}

/** Keeps every message that the page shows, whatever it takes out of view again: [id, text] in the order they appeared. */
async function watch(page: Page): Promise<void> {
  await page.evaluate(() => {
    const shown: [string, string][] = [];
    const ids = new Set<string>();
    (window as unknown as { shown: unknown }).shown = shown;
    const look = (): void => {
      for (const row of document.querySelectorAll<HTMLElement>("li.message:not(.message-sending):not(.message-failed)")) {
        const [id, text] = [row.dataset["key"], row.querySelector(".markdown")?.textContent ?? ""];
        if (!id || !text.includes(" says ") || ids.has(id)) continue;
        ids.add(id);
        shown.push([id, text]);
      }
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
    look();
  });
}

/** What the page has shown, in the order of the conversation. */
async function shown(page: Page): Promise<string[]> {
  const all = await page.evaluate(() => (window as unknown as { shown: [string, string][] }).shown);
  return all.sort(([one], [other]) => (BigInt(one) < BigInt(other) ? -1 : 1)).map(([, text]) => text);
}

/** What the server has, through its public interface, oldest first. */
async function stored(page: Page): Promise<string[]> {
  return await page.evaluate(async () => {
    const token = JSON.parse(localStorage.getItem("flux.token") ?? '""') as string;
    const channel = location.pathname.split("/").at(-1);
    const texts: string[] = [];
    for (let before = ""; ; ) {
      const answer = await fetch(`/api/v10/channels/${channel}/messages?limit=100${before}`, { headers: { authorization: token } });
      const messages = (await answer.json()) as { id: string; content: string }[];
      if (messages.length === 0) return texts.reverse().filter((text) => text.includes(" says "));
      texts.push(...messages.map((message) => message.content));
      before = `&before=${messages.at(-1)!.id}`;
    }
  });
}

test("ada and grace meet", async () => {
  await ada.page.goto(server.url);
  await register(ada.page, "Ada", "Create account");
  await ada.page.getByLabel("Name of the guild").fill("Storage Engine Club");
  await ada.page.getByRole("button", { name: "Create the guild" }).click();
  await ada.page.getByRole("heading", { name: "Welcome to #general" }).waitFor();
  await ada.page.getByRole("main").getByRole("button", { name: /^Invite people to/ }).click();
  const invite = await ada.page.getByLabel("Invite link").inputValue();
  await ada.page.keyboard.press("Escape");
  await grace.page.goto(invite);
  await register(grace.page, "grace", "Create account and join");
  await grace.page.getByRole("textbox", { name: "Message #general" }).waitFor();
});

test(
  "they keep chatting through the death of every node, and each message is there once and in order for both",
  async () => {
    for (const { page } of [ada, grace]) await watch(page);
    const talkers = [new Talker(ada.page, "Ada"), new Talker(grace.page, "Grace")];
    const go = (count: number): Promise<unknown> => Promise.all(talkers.map((talker) => talker.more(count)));
    await go(2);
    for (let node = 0; node < 3; node += 1) {
      expect(await nodes.leads(node), `tablets that node ${node} leads when it is killed`).toBeGreaterThan(0);
      await nodes.kill(node);
      await go(SAID_MEANWHILE);
      if (node === 1) await shoot(ada.page, "kills-1-while-a-node-is-dead");
      await nodes.up(node);
      await go(SAID_MEANWHILE);
    }
    await Promise.all(talkers.map((talker) => talker.end()));
    console.log(`${talkers.map(({ said }) => said.length).join(" and ")} messages, the slowest took ${talkers.map(({ slowest }) => slowest).join(" and ")} ms`);

    const there = await stored(ada.page);
    for (const { said } of talkers) {
      expect(there.filter((text) => said.includes(text))).toEqual(said);
    }
    expect(there.length).toBe(talkers.reduce((sum, { said }) => sum + said.length, 0));
    for (const { page } of [ada, grace]) {
      await expect.poll(() => shown(page), { timeout: THROUGH_A_KILL_MS }).toEqual(there);
      expect(await page.locator(".message-sending, .message-failed").count()).toBe(0);
    }
  },
  6 * THROUGH_A_KILL_MS,
);

test(
  "without a majority the page says what waits and what was not sent, and loses nothing",
  async () => {
    const text = "Is anybody there?";
    const mine = ada.page.locator("li.message", { hasText: text });
    await Promise.all([nodes.kill(1), nodes.kill(2)]);
    await ada.page.getByRole("textbox", { name: "Message #general" }).fill(text);
    await ada.page.keyboard.press("Enter");
    await mine.getByText("Waiting for the server…").waitFor();
    await shoot(ada.page, "kills-2-waiting");
    await mine.getByText(/^Not sent\. The server /).waitFor({ timeout: THROUGH_A_KILL_MS });
    await shoot(ada.page, "kills-3-not-sent");
    await Promise.all([nodes.up(1), nodes.up(2)]);
    const begun = Date.now();
    while ((await ada.page.locator("li.message:not(.message-sending):not(.message-failed)", { hasText: text }).count()) === 0) {
      const retry = mine.getByRole("button", { name: "Retry" });
      if ((await retry.count()) > 0) await retry.click();
      if (Date.now() - begun > THROUGH_A_KILL_MS) throw new Error("the message that was sent again was not taken");
      await ada.page.waitForTimeout(50);
    }
    await grace.page.locator("li.message", { hasText: text }).waitFor({ timeout: THROUGH_A_KILL_MS });
    for (const { page } of [ada, grace]) {
      await page.reload();
      await page.locator("li.message", { hasText: text }).waitFor({ timeout: THROUGH_A_KILL_MS });
      expect(await page.locator("li.message", { hasText: text }).count()).toBe(1);
    }
    await shoot(grace.page, "kills-4-after");
    expect([...ada.errors, ...grace.errors]).toEqual([]);
  },
  4 * THROUGH_A_KILL_MS,
);
