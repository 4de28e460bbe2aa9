// Live and past video in a real browser, down to the single frame. Started by e2e/tests/browser.rs, which sets the
// stage and says in the environment where it is:
//   WATCH_URL   the console's address, key included
//   STREAMS     [{"name": …, "frames": frames of the looped clip, "framesPerSecond": …, "audio": whether it has sound}, …]
//   SCREENSHOT  where to put a picture of the watch page (optional)
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { checkStream } from "./checks.mjs";
import { launch } from "./chromium.mjs";
import { open, pauseUntilLeftBehind, playLive, readFrames } from "./watch.mjs";

const STREAMS = JSON.parse(process.env.STREAMS);

let browser;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

for (const stream of STREAMS) {
  test(`${stream.name} plays live, and from the past, with the right frames`, async () => {
    await checkStream(browser, process.env.WATCH_URL, stream, async ({ page }) => {
      if (process.env.SCREENSHOT && stream === STREAMS[0]) await page.screenshot({ path: process.env.SCREENSHOT });
    });
  });
}

test("a live picture that is paused stays, and what plays on comes back to the present", async () => {
  const watched = await open(browser, process.env.WATCH_URL);
  await playLive(watched, STREAMS[0].name);
  await readFrames(watched, 10);
  const { paused, later, edge } = await pauseUntilLeftBehind(watched);
  assert.equal(later, paused, `the picture of ${paused} s stays while the stream goes on to ${edge} s`);
  await watched.page.evaluate(() => window.millrace.video.play());
  await watched.page.waitForFunction((left) => window.millrace.video.currentTime > left, edge, { timeout: 30_000 });
  await watched.page.close();
});
