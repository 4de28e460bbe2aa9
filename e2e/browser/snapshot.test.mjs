// A picture of what a camera sees now, or why there is none. Started by e2e/tests/browser.rs:
//   WATCH_URL   the console's address, key included
//   STREAM      a stream whose camera works
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.mjs";
import { open } from "./watch.mjs";

const stream = JSON.parse(process.env.STREAM);
const why = "the camera gives no video now; look why with `millrace device show`";

let browser;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

test("a snapshot is shown, and where there is none the server's words are", async () => {
  const { page } = await open(browser, process.env.WATCH_URL);
  const button = page.locator(".device li", { hasText: `${stream}:` }).getByRole("button", { name: "Snapshot" });
  await page.click(".device summary", { timeout: 30_000 });
  await button.waitFor({ timeout: 60_000 });

  await page.route("**/snapshot?*", (route) => {
    return route.fulfill({ status: 502, json: { error: "command_failed", message: why } });
  });
  await button.click();
  await page.waitForFunction((words) => document.querySelector(".device output")?.textContent === words, why, { timeout: 30_000 });
  assert.equal(await page.locator(".device img").count(), 0);

  await page.unroute("**/snapshot?*");
  await button.click();
  await page.waitForFunction(() => document.querySelector(".device img")?.naturalWidth > 0, undefined, { timeout: 30_000 });
  assert.equal(await page.locator(".device output").count(), 0);
  await page.close();
});
