// A range of time that a device is asked for on the page. Started by e2e/tests/browser.rs:
//   WATCH_URL   the console's address, key included
//   STREAM      a stream whose camera only records, and of which the device has something
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.mjs";
import { open } from "./watch.mjs";

const stream = JSON.parse(process.env.STREAM);
const HOUR_MS = 3_600_000;

let browser;
before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

test("a range is asked for with the form, which says what of it comes, or in the server's words why nothing does", async () => {
  const { page, complaints } = await open(browser, process.env.WATCH_URL);
  await page.click(".device summary", { timeout: 30_000 });
  const item = page.locator(".device li", { hasText: `${stream}:` });
  const button = item.getByRole("button", { name: "Fetch…" });
  await button.click({ timeout: 60_000 });
  await button.click();
  const form = item.locator("form");
  assert.equal(await form.count(), 1, "there is one form, however often it is asked for");

  // An empty form asks for nothing.
  await form.getByRole("button", { name: "Upload" }).click();
  assert.equal(await said(form), "");

  const now = Date.now();
  const refused = await ask(page, form, now - 3 * HOUR_MS, now - 2 * HOUR_MS);
  assert.match(refused, new RegExp(`nothing of ${stream} from .* waits here: .*What waits of it lies from`));
  const comes = await ask(page, form, now - HOUR_MS, now + HOUR_MS);
  assert.match(comes, /^[1-9]\d* fragments, [1-9]\d* s, are on their way\. What is captured before the range ends follows\.$/);

  // The list of cameras is shown anew all the time, but not while someone looks at a form.
  await page.waitForTimeout(6000);
  assert.equal(await said(form), comes);
  await form.getByRole("button", { name: "Close" }).click();
  assert.equal(await form.count(), 0);
  // The answer to what was refused is all that the browser complains about.
  assert.deepEqual(complaints.filter((complaint) => !complaint.includes("502")), []);
  await page.close();
});

/** Asks for a range as a person does, in local time, and gives what is said then. */
async function ask(page, form, from, to) {
  const before = await said(form);
  for (const [name, at] of [["From", from], ["To", to]]) {
    const local = new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
    await form.getByLabel(name).fill(local);
  }
  await form.getByRole("button", { name: "Upload" }).click();
  const isNew = (words) => ![words, ""].includes(document.querySelector(".device form > span")?.textContent);
  await page.waitForFunction(isNew, before, { timeout: 30_000 });
  return said(form);
}

function said(form) {
  return form.locator("> span").textContent();
}
