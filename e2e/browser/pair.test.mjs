// A camera with a main and a sub stream is one entry, with a button that switches. Started by e2e/tests/browser.rs:
//   WATCH_URL   the console's address, key included
//   PAIR        {"main": stream, "sub": stream}
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.mjs";
import { open, playLive } from "./watch.mjs";

const { main, sub } = JSON.parse(process.env.PAIR);

let browser;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

test("a pair is one camera, and its streams are switched by a button", async () => {
  const { page } = await open(browser, process.env.WATCH_URL);
  await playLive({ page }, main);
  const listed = () => page.$$eval("button.stream", (buttons) => buttons.map((button) => button.dataset.stream));
  assert.deepEqual(await listed(), [main]);
  for (const [other, label] of [[sub, "Main stream"], [main, "Sub stream"]]) {
    await page.click("#main-sub", { timeout: 30_000 });
    const plays = ([stream, text]) => {
      const { hls, session, video } = window.millrace;
      const button = document.getElementById("main-sub").textContent;
      return session?.stream === stream && hls?.playingDate && video.readyState >= 3 && button === text;
    };
    await page.waitForFunction(plays, [other, label], { timeout: 40_000 });
    const current = await page.$eval(`button.stream[data-stream="${main}"]`, (button) => button.getAttribute("aria-current"));
    assert.equal(current, "true");
  }
  await page.close();
});
