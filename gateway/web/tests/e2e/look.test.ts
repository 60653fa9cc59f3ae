// The page in the states a person meets, at three sizes, dark and light: what axe-core says about each, and a picture
// of each for a person to judge (SHOTS=folder). The server is the stand-in, because a healthy one does not fail on demand.
import { fileURLToPath } from "node:url";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MockServer } from "../mock/server";
import { launch, person, type Scheme, shoot, VIEWPORTS, violations } from "./browser";
import { type Scene, startScene } from "./scenes";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));

let browser: Browser;
beforeAll(async () => void (browser = await launch()));
afterAll(() => browser?.close());

async function logIn(page: Page, url: string, path: string, token: string): Promise<void> {
  await page.goto(url);
  await page.evaluate((value) => localStorage.setItem("flux.token", JSON.stringify(value)), token);
  await page.goto(url + path);
}

async function judge(page: Page, name: string): Promise<void> {
  await shoot(page, name);
  expect(await violations(page), name).toEqual([]);
}

const schemes: Scheme[] = ["dark", "light"];
const sizes = Object.keys(VIEWPORTS) as (keyof typeof VIEWPORTS)[];

describe.each(schemes)("%s", (scheme) => {
  describe.each(sizes)("on a %s", (viewport) => {
    const label = (name: string): string => `${name}-${viewport}-${scheme}`;

    test("the first visit, the first guild and the empty channel are clear and accessible", async () => {
      const server = new MockServer(DIST);
      server.firstVisit = true;
      const url = await server.listen();
      const { context, page, errors } = await person(browser, { scheme, viewport });
      await page.goto(url);
      await page.getByLabel("Name").waitFor();
      await judge(page, label("1-first-visit"));
      await page.getByLabel("Name").fill("ada");
      await page.getByLabel("Password").fill("short");
      await page.getByRole("button", { name: "Create account" }).click();
      await page.getByText("The password needs").waitFor();
      await judge(page, label("2-refused"));
      await page.getByLabel("Password").fill("correct horse");
      await page.getByRole("button", { name: "Create account" }).click();
      await page.getByRole("heading", { name: "Hello, ada" }).waitFor();
      await judge(page, label("3-welcome"));
      await page.getByLabel("Name of the guild").fill("Storage Engine Club");
      await page.getByRole("button", { name: "Create the guild" }).click();
      await page.getByRole("heading", { name: "Welcome to #general" }).waitFor();
      await judge(page, label("4-empty-guild"));
      await page.getByRole("main").getByRole("button", { name: /^Invite people to/ }).click();
      await page.getByLabel("Invite link").waitFor();
      await judge(page, label("5-invite"));
      expect(errors).toEqual([]);
      await context.close();
      await server.close();
    });

    test("a busy channel, scrolled up, offline and failing are clear and accessible", async () => {
      const scene: Scene = await startScene(DIST);
      const { server, general, people } = scene;
      const { context, page, errors } = await person(browser, { scheme, viewport });
      await logIn(page, scene.url, `/channels/${general.guild_id}/${general.id}`, scene.ada.id);
      await page.getByText("I owe you a coffee").waitFor();
      await page.locator(".hljs-keyword").first().waitFor();
      server.type(general, people["grace"]!);
      server.type(general, people["linus"]!);
      await page.getByText("are typing").waitFor();
      await judge(page, label("6-busy"));
      await page.locator("li.message", { hasText: "Twice, and I can prove it" }).hover();
      await page.locator("li.message", { hasText: "Twice, and I can prove it" }).getByRole("button", { name: "React" }).click();
      await page.getByRole("dialog", { name: "Pick an emoji" }).waitFor();
      await judge(page, label("7-picker"));
      await page.keyboard.press("Escape");

      await page.locator(".viewport").evaluate((element) => element.scrollBy(0, -2400));
      await page.getByRole("button", { name: "Jump to the present" }).waitFor();
      server.say(general, people["grace"]!, "Still there?");
      server.say(general, people["linus"]!, `<@${scene.ada.id}> the second number holds.`);
      await page.getByRole("button", { name: "2 new messages" }).waitFor();
      await judge(page, label("8-scrolled-up"));
      await page.getByRole("button", { name: "2 new messages" }).click();
      await page.locator("li.message-mention", { hasText: "the second number holds." }).waitFor();
      await judge(page, label("9-new-line"));

      server.refuse = { pattern: /^POST .*\/messages$/, status: 503 };
      await page.getByLabel("Message #general").fill("This one does not get through.");
      await page.keyboard.press("Enter");
      await page.getByText("Not sent.").waitFor();
      server.setGateway(false);
      await page.getByText(/Offline since|Connecting|Resuming/).waitFor();
      await judge(page, label("10-offline-and-failed"));
      server.refuse = null;
      server.setGateway(true);
      await page.getByText("Connected again").waitFor({ timeout: 40_000 });
      await page.getByRole("button", { name: "Retry" }).click();
      await page.getByText("Not sent.").waitFor({ state: "detached" });
      expect(await page.getByText("This one does not get through.").count()).toBe(1);

      await page.keyboard.press("Control+k");
      await page.getByLabel("Guild, channel or person").fill("e");
      await judge(page, label("11-switcher"));
      await page.keyboard.press("Escape");
      await page.keyboard.press("Control+/");
      await page.getByRole("heading", { name: "Keys" }).waitFor();
      await judge(page, label("12-keys"));
      await page.keyboard.press("Escape");
      if (viewport !== "desktop") {
        await page.getByRole("button", { name: "Guilds and channels" }).click();
        await page.getByRole("navigation", { name: "Channels" }).waitFor();
        await judge(page, label("13-places"));
      }
      expect(errors).toEqual([]);
      await context.close();
      await server.close();
    });

    test("replying, editing, completing and every dialog are clear and accessible", async () => {
      const scene = await startScene(DIST);
      const { context, page, errors } = await person(browser, { scheme, viewport });
      await logIn(page, scene.url, `/channels/${scene.general.guild_id}/${scene.general.id}`, scene.ada.id);
      const composer = page.getByRole("textbox", { name: "Message #general" });
      const message = (text: string) => page.locator("li.message", { hasText: text });
      await composer.waitFor();
      await message("I owe you a coffee").hover();
      await message("I owe you a coffee").getByRole("button", { name: "Reply" }).click();
      await composer.pressSequentially("Thank you, @gra");
      await page.getByRole("listbox", { name: "Names" }).waitFor();
      await judge(page, label("14-reply-and-completion"));
      await page.keyboard.press("Enter");
      expect(await composer.inputValue()).toBe("Thank you, @grace ");
      await composer.pressSequentially(":party");
      await page.getByRole("option", { name: "party popper" }).waitFor();
      await page.keyboard.press("Tab");
      expect(await composer.inputValue()).toBe("Thank you, @grace 🎉 ");
      await page.keyboard.press("Escape");
      await composer.fill("");
      await composer.press("ArrowUp");
      await page.getByRole("textbox", { name: "Edit the message" }).waitFor();
      await judge(page, label("15-editing"));
      await page.keyboard.press("Escape");
      await message("Open is down").hover();
      await message("Open is down").getByRole("button", { name: "Delete" }).click();
      await judge(page, label("16-delete"));
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "grace", exact: true }).first().click();
      await page.getByRole("dialog", { name: "grace" }).waitFor();
      await judge(page, label("17-person"));
      await page.keyboard.press("Escape");
      if (viewport !== "desktop") await page.getByRole("button", { name: "Members" }).click();
      await page.getByRole("complementary", { name: "Members" }).waitFor();
      if (viewport !== "desktop") await judge(page, label("18-members"));
      if (viewport !== "desktop") await page.getByRole("button", { name: "Close" }).first().click();
      const places = async (): Promise<void> => {
        if (viewport !== "desktop") await page.getByRole("button", { name: "Guilds and channels" }).click();
      };
      await places();
      await page.getByRole("button", { name: "Create a channel" }).click();
      await judge(page, label("19-new-channel"));
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Settings" }).click();
      await judge(page, label("20-settings"));
      await page.keyboard.press("Escape");
      await page.getByRole("button", { name: "Direct messages" }).click();
      await judge(page, label("21-no-direct-messages"));
      expect(errors).toEqual([]);
      await context.close();
      await scene.server.close();
    });
  });
});
