// Live and past video in a real browser, down to the single frame. Started by e2e/tests/browser.rs, which sets the
// stage and says in the environment where it is:
//   WATCH_URL   the console's address, key included
//   STREAMS     [{"name": …, "frames": frames of the looped clip, "audio": whether it has sound}, …]
//   SCREENSHOT  where to put a picture of the watch page (optional)
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./chromium.mjs";
import { distance, open, playLive, playPast, readFrames, state } from "./watch.mjs";

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
    const watched = await open(browser, process.env.WATCH_URL);

    await playLive(watched, stream.name);
    const live = await readFrames(watched, 60);
    assertAscending(live, stream, "live");
    if (process.env.SCREENSHOT && stream === STREAMS[0]) await watched.page.screenshot({ path: process.env.SCREENSHOT });
    const { segmentSeconds } = await state(watched);

    // Ask for a second that was seen live, so that its frame is known.
    const seen = live.find((frame) => frame.date % 1000 < 500) ?? live[0];
    const asked = new Date(Math.floor(seen.date / 1000) * 1000);
    // It has to be in the archive, and older than what counts as live.
    await watched.page.waitForTimeout(4000);
    await playPast(watched, asked);
    const past = await readPast(watched, stream);

    const off = Math.abs(past[0].date - asked.getTime());
    assert.ok(off <= segmentSeconds * 1000 + 100, `the seek landed ${off} ms away; a fragment is ${segmentSeconds} s`);
    assertSamePictures(live, past);

    const { error, audioBytes, fatal, errors } = await state(watched);
    assert.equal(error, "", "the page shows no error");
    assert.deepEqual(fatal, [], "the player met no fatal error");
    assert.deepEqual(watched.complaints, [], "the browser complains about nothing");
    if (errors.length > 0) console.log("recovered:", JSON.stringify(errors));
    if (stream.audio) assert.ok(audioBytes > 0, "sound was decoded");
    else assert.equal(audioBytes, 0, "there is no sound where the camera has none");
    await watched.page.close();
  });
}

// Reads the past slowly. On a busy machine the browser itself may skip a frame; then it reads on, twice at most.
async function readPast(watched, stream) {
  const first = await readFrames(watched, 80, 0.25);
  let frames = first;
  for (let attempt = 0; ; attempt++) {
    assertAscending(frames, stream, "past");
    const missing = missingFrames(frames, stream);
    if (missing.length === 0) return first;
    assert.ok(attempt < 2, `frames are missing: ${missing.join("; ")}`);
    frames = await readFrames(watched, 80, 0.25);
  }
}

function assertAscending(frames, { frames: count }, where) {
  for (let i = 1; i < frames.length; i++) {
    const step = distance(frames[i - 1].number, frames[i].number, count);
    // Half a clip ahead is behind: numbers count in a circle.
    assert.ok(
      step > 0 && step < count / 2,
      `${where}: frame ${frames[i].number} came after ${frames[i - 1].number}`,
    );
  }
}

// Where the numbers go further than the count of frames that the browser has shown meanwhile.
function missingFrames(frames, { frames: count }) {
  const missing = [];
  for (let i = 1; i < frames.length; i++) {
    const [before, after] = [frames[i - 1], frames[i]];
    const numbers = distance(before.number, after.number, count);
    const shown = after.presented - before.presented;
    if (numbers > shown) missing.push(`${before.number} → ${after.number} with ${shown} shown`);
  }
  return missing;
}

// A picture has the same wall time in both views, to a frame.
function assertSamePictures(live, past) {
  const dates = new Map(live.map((frame) => [frame.number, frame.date]));
  const both = past.filter((frame) => dates.has(frame.number));
  for (const frame of both) {
    const apart = Math.abs(frame.date - dates.get(frame.number));
    assert.ok(apart <= 120, `frame ${frame.number} is shown ${apart} ms apart in live and past`);
  }
  assert.ok(both.length > 0, "the past shows frames that were seen live");
}
