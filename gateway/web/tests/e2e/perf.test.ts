// Scrolling through history draws only what is in sight. How long the frames took is printed, not judged: that depends
// on what else the machine does.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { launch, person } from "./browser";
import { startScene } from "./scenes";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
/** Rows drawn at most, of the six hundred that are loaded or could be: the window and the overscan on both sides. */
const ROWS_MAX = 90;

test("a wheel through six hundred messages reaches the old ones, and keeps few elements", async () => {
  const scene = await startScene(DIST);
  const browser = await launch();
  const { page } = await person(browser);
  await page.goto(scene.url);
  await page.evaluate((token) => localStorage.setItem("flux.token", JSON.stringify(token)), scene.ada.id);
  await page.goto(`${scene.url}/channels/${scene.general.guild_id}/${scene.general.id}`);
  await page.getByText("I owe you a coffee").waitFor();
  const result = await page.evaluate(async () => {
    const viewport = document.querySelector(".viewport")!;
    const frames: number[] = [];
    let last = performance.now();
    let most = 0;
    for (let count = 0; count < 400; count++) {
      viewport.scrollBy(0, -120);
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      frames.push(now - last);
      last = now;
      most = Math.max(most, document.querySelectorAll("li.message").length);
    }
    frames.sort((a, b) => a - b);
    return { middle: frames[200]!, slow: frames[380]!, slowest: frames.at(-1)!, most, oldest: document.querySelector("li.message")?.textContent };
  });
  console.info("frames in ms, rows:", JSON.stringify(result));
  expect(result.most).toBeLessThan(ROWS_MAX);
  expect(result.oldest).toContain("Note ");
  await browser.close();
  await scene.server.close();
});
