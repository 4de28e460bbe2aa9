// A past that is damaged in the middle, and at its beginning, plays on behind the gap. Started by e2e/tests/browser.rs:
//   WATCH_URL   the console's address, key included
//   GAPS        [{"name": stream, "start": ms, "damaged": frames that can't be shown, "last": the last frame}, …]
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.mjs";
import { open, playPast, readFrames } from "./watch.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

for (const { name, start, damaged, last } of JSON.parse(process.env.GAPS)) {
  test(`${name} is watched to its end, but for what is damaged`, async () => {
    const watched = await open(browser, process.env.WATCH_URL);
    await watched.page.click(`button.stream[data-stream="${name}"]`, { timeout: 30_000 });
    await playPast(watched, new Date(start));
    const seen = new Set();
    // A busy browser passes over frames.
    while (![...seen].some((number) => number > last - 20)) {
      for (const { number } of await readFrames(watched, 10)) seen.add(number);
    }
    const before = [...seen].filter((number) => number < damaged[0]);
    assert.deepEqual([...seen].filter((number) => damaged[0] <= number && number <= damaged[1]), []);
    assert.ok(damaged[0] === 0 || before.length > 0, "what lies before it is shown");
    await watched.page.close();
  });
}
