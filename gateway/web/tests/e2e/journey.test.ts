// Two people who never saw Flux, in two browsers, on the real server: from the first page to a conversation.
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { launch, person, shoot, violations } from "./browser";
import { FluxServer } from "./server";

let browser: Browser;
let server: FluxServer;
let ada: { context: BrowserContext; page: Page; errors: string[] };
let grace: { context: BrowserContext; page: Page; errors: string[] };
let invite = "";

beforeAll(async () => {
  server = await FluxServer.start();
  browser = await launch();
  ada = await person(browser);
  grace = await person(browser, { scheme: "light" });
});

afterAll(async () => {
  await browser?.close();
  await server?.remove();
});

afterEach(async (context) => {
  if (context.task.result?.state !== "fail") return;
  await shoot(ada.page, `failed-ada-${context.task.name.slice(0, 40)}`);
  await shoot(grace.page, `failed-grace-${context.task.name.slice(0, 40)}`);
  console.error(server.log.slice(-4_000));
});

const guildTile = (page: Page): Locator => page.getByRole("navigation", { name: "Guilds" }).getByRole("button", { name: /^Storage Engine Club/ });
const channelButton = (page: Page, name: string): Locator => page.getByRole("navigation", { name: "Channels" }).getByRole("button", { name: new RegExp(`^${name}`) });
const row = (page: Page, text: string): Locator => page.locator("li.message", { has: page.locator(".markdown", { hasText: text }) });

/** Writes a message and waits until the server has it; `shown` is how it reads if that differs. */
async function say(page: Page, text: string, shown = text): Promise<void> {
  await page.getByRole("textbox", { name: /^Message / }).fill(text);
  await page.keyboard.press("Enter");
  await page.locator("li.message:not(.message-sending):not(.message-failed)", { hasText: shown }).last().waitFor();
}

async function register(page: Page, name: string, button: string): Promise<void> {
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill("correct horse battery");
  await page.getByRole("button", { name: button, exact: true }).click();
}

describe.sequential("two people", () => {
  test("ada registers with a name and a password, and makes a guild", async () => {
    await ada.page.goto(server.url);
    await register(ada.page, "Ada", "Create account");
    await ada.page.getByRole("heading", { name: "Hello, Ada" }).waitFor();
    await ada.page.getByLabel("Name of the guild").fill("Storage Engine Club");
    await ada.page.getByRole("button", { name: "Create the guild" }).click();
    await ada.page.getByRole("heading", { name: "Welcome to #general" }).waitFor();
    expect(await ada.page.getByRole("textbox", { name: "Message #general" }).evaluate((field) => field === document.activeElement)).toBe(true);
    expect(await violations(ada.page)).toEqual([]);
  });

  test("ada makes an invite, and grace joins by its link", async () => {
    await ada.page.getByRole("main").getByRole("button", { name: /^Invite people to/ }).click();
    invite = await ada.page.getByLabel("Invite link").inputValue();
    await ada.page.keyboard.press("Escape");
    await grace.page.goto(invite);
    await grace.page.getByText("Storage Engine Club").waitFor();
    await shoot(grace.page, "real-1-invite");
    await register(grace.page, "grace", "Create account and join");
    await grace.page.getByRole("textbox", { name: "Message #general" }).waitFor();
    await ada.page.getByRole("complementary", { name: "Members" }).getByText("grace").waitFor();
    await ada.page.getByRole("button", { name: /^grace.*online/ }).waitFor();
  });

  test("what one writes the other reads, and sees being typed", async () => {
    await say(ada.page, "Hello, **grace**!", "Hello, grace!");
    await row(grace.page, "Hello, grace!").waitFor();
    await grace.page.getByRole("textbox", { name: "Message #general" }).pressSequentially("Hello");
    await ada.page.getByText("grace is typing…").waitFor();
    await say(grace.page, "Hello yourself, @ada", "Hello yourself, @Ada");
    await ada.page.locator("li.message-mention", { hasText: "Hello yourself, @Ada" }).waitFor();
    await ada.page.getByText("grace is typing…").waitFor({ state: "detached" });
  });

  test("an edit, a reaction and a deletion reach the other at once", async () => {
    await say(ada.page, "The tree is balenced.");
    await ada.page.getByRole("textbox", { name: "Message #general" }).press("ArrowUp");
    await ada.page.getByRole("textbox", { name: "Edit the message" }).fill("The tree is balanced.");
    await ada.page.keyboard.press("Enter");
    await row(grace.page, "The tree is balanced.").getByText("(edited)").waitFor();

    await row(grace.page, "The tree is balanced.").hover();
    await row(grace.page, "The tree is balanced.").getByRole("button", { name: "React" }).click();
    await grace.page.getByRole("button", { name: "party popper celebrate" }).click();
    const chip = row(ada.page, "The tree is balanced.").getByRole("button", { name: "🎉, 1" });
    await chip.click();
    await row(grace.page, "The tree is balanced.").getByRole("button", { name: "🎉, 2" }).waitFor();

    await say(ada.page, "Delete me.");
    await row(grace.page, "Delete me.").waitFor();
    await row(ada.page, "Delete me.").hover();
    await row(ada.page, "Delete me.").getByRole("button", { name: "Delete" }).click();
    await ada.page.getByRole("button", { name: "Delete the message" }).click();
    await row(grace.page, "Delete me.").waitFor({ state: "detached" });
  });

  test("a reply quotes what it answers", async () => {
    await row(grace.page, "The tree is balanced.").hover();
    await row(grace.page, "The tree is balanced.").getByRole("button", { name: "Reply" }).click();
    await say(grace.page, "By rotation, I hope?");
    await row(ada.page, "By rotation, I hope?").locator(".quote", { hasText: "The tree is balanced." }).waitFor();
  });

  test("a new channel appears for both, and is unread for the one who is elsewhere", async () => {
    await ada.page.getByRole("button", { name: "Create a channel" }).click();
    await ada.page.getByLabel("Name").fill("Reading group");
    await ada.page.getByRole("button", { name: "Create the channel" }).click();
    await ada.page.getByRole("heading", { name: "Welcome to #reading-group" }).waitFor();
    await say(ada.page, "Chapter one for Thursday, @grace");
    await grace.page.getByRole("button", { name: "reading-group, 1 for you" }).waitFor();
    expect(await grace.page.title()).toMatch(/^\(1\)/);
    await grace.page.getByRole("button", { name: "reading-group, 1 for you" }).click();
    await row(grace.page, "Chapter one for Thursday").waitFor();
    await expect.poll(() => grace.page.title(), { timeout: 10_000 }).not.toMatch(/^\(1\)/);
  });

  test("a direct message reaches the other, and says so", async () => {
    await ada.page.getByRole("button", { name: /^grace.*online/ }).click();
    await ada.page.getByRole("dialog").getByRole("button", { name: "Message" }).click();
    await ada.page.getByRole("textbox", { name: "Message grace" }).waitFor();
    await say(ada.page, "Between us: the cake is ordered.");
    await grace.page.getByRole("button", { name: "Direct messages, 1 for you" }).click();
    await grace.page.getByRole("button", { name: /^Ada/ }).first().click();
    await row(grace.page, "Between us: the cake is ordered.").waitFor();
  });

  test("after a reload the history is there, and the place too", async () => {
    await guildTile(ada.page).click();
    await channelButton(ada.page, "general").click();
    await row(ada.page, "The tree is balanced.").waitFor();
    await ada.page.reload();
    await row(ada.page, "By rotation, I hope?").waitFor();
    await row(ada.page, "The tree is balanced.").getByRole("button", { name: "🎉, 2", pressed: true }).waitFor();
    expect(await ada.page.locator("li.message").count()).toBe(4);
  });

  test("history scrolls back to its beginning, and what is read does not move", async () => {
    await fill(ada.page, 260);
    const { page } = grace;
    await guildTile(page).click();
    await channelButton(page, "general").click();
    await row(page, "Line 260 of many.").waitFor();
    await page.locator(".viewport").hover();
    await page.mouse.wheel(0, -1_500);
    await page.getByRole("button", { name: "Jump to the present" }).waitFor();
    const read = row(page, "Line 195 of many.");
    const place = await read.boundingBox();
    await say(ada.page, "Something new.");
    await page.getByRole("button", { name: "1 new message" }).waitFor();
    expect(await read.boundingBox()).toEqual(place);
    for (let count = 0; count < 200 && !(await page.getByRole("heading", { name: "Welcome to #general" }).isVisible()); count++) {
      await page.mouse.wheel(0, -900);
      await page.waitForTimeout(50);
    }
    await page.getByRole("heading", { name: "Welcome to #general" }).waitFor();
    await row(page, "Hello, grace!").waitFor();
    expect(await page.locator("li.message").count()).toBeLessThan(80);
    await page.getByRole("button", { name: /jump to the present/i }).click();
    await row(page, "Something new.").waitFor();
  });

  test("a killed server comes back, and both go on where they were", async () => {
    await channelButton(ada.page, "general").click();
    await server.kill();
    await ada.page.getByText(/Offline since|Connecting|Resuming/).waitFor();
    await ada.page.getByRole("textbox", { name: "Message #general" }).fill("Written while the server was down.");
    await ada.page.keyboard.press("Enter");
    await ada.page.getByText("Not sent.").waitFor();
    await server.up();
    await ada.page.getByText("Connected again").waitFor({ timeout: 40_000 });
    await ada.page.getByRole("button", { name: "Retry" }).click();
    await row(grace.page, "Written while the server was down.").waitFor({ timeout: 40_000 });
    await ada.page.getByText("Not sent.").waitFor({ state: "detached" });
    expect(await row(ada.page, "Written while the server was down.").count()).toBe(1);
    // What ada wrote herself is not unread to her, though the session is a new one.
    expect(await ada.page.getByRole("navigation", { name: "Guilds" }).getByRole("button", { name: /unread|for you/ }).count()).toBe(0);
    await shoot(ada.page, "real-2-after-restart");
  });

  test("nothing threw in either page", () => {
    expect(ada.errors).toEqual([]);
    expect(grace.errors).toEqual([]);
  });
});

/** Writes many messages through the public API, as the person whose page it is, waiting out the rate limit. */
async function fill(page: Page, count: number): Promise<void> {
  const channel = new URL(page.url()).pathname.split("/").at(-1)!;
  await page.evaluate(
    async ({ channel, count }) => {
      const token = JSON.parse(localStorage.getItem("flux.token") ?? '""') as string;
      for (let index = 1; index <= count; index++) {
        const send = (): Promise<Response> =>
          fetch(`/api/v10/channels/${channel}/messages`, {
            method: "POST",
            headers: { authorization: token, "content-type": "application/json" },
            body: JSON.stringify({ content: `Line ${index} of many.` }),
          });
        let answer = await send();
        while (answer.status === 429) {
          const { retry_after } = (await answer.json()) as { retry_after: number };
          await new Promise((done) => setTimeout(done, retry_after * 1_000));
          answer = await send();
        }
        if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
      }
    },
    { channel, count },
  );
}
