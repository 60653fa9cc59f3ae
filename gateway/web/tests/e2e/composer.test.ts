// Writing, at the speed of fingers: nothing of the composer may happen a frame after the key that caused it.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { launch, person } from "./browser";
import { startScene } from "./scenes";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));

test("a completed name leaves the caret behind it at once, not with the next frame", async () => {
  const scene = await startScene(DIST);
  const browser = await launch();
  const { page, errors } = await person(browser);
  // Frames never come: whatever waits for one has not happened.
  await page.addInitScript(() => Object.assign(window, { requestAnimationFrame: () => 0 }));
  await page.goto(scene.url);
  await page.evaluate((token) => localStorage.setItem("flux.token", JSON.stringify(token)), scene.ada.id);
  await page.goto(`${scene.url}/channels/${scene.general.guild_id}/${scene.general.id}`);
  const composer = page.getByRole("textbox", { name: "Message #general" });
  await composer.waitFor();
  await composer.fill("thank you");
  await composer.press("Home");
  await composer.pressSequentially("@gra");
  await page.getByRole("listbox", { name: "Names" }).waitFor();
  await composer.press("Tab");
  expect(await composer.inputValue()).toBe("@grace thank you");
  const caret = await composer.evaluate((element) => {
    const field = element as HTMLTextAreaElement;
    return [field.selectionStart, field.selectionEnd, document.activeElement === field];
  });
  expect(caret).toEqual([7, 7, true]);
  expect(errors).toEqual([]);
  await browser.close();
  await scene.server.close();
});
