// Scrolling through history must keep up with the screen.
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { launch, person } from "./browser";
import { startScene } from "./scenes";

const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
/** The middle frame may take this long, in milliseconds. It takes 17 here without a graphics card; the rest is room for a busy machine. */
const FRAME_MS = 40;

test("a wheel through six hundred messages draws without stutter, and keeps few elements", async () => {
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
  expect(result.middle).toBeLessThan(FRAME_MS);
  expect(result.most).toBeLessThan(90);
  await browser.close();
  await scene.server.close();
});
